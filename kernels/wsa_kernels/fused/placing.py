"""Placing: in which bins a tile of entries falls, counted exactly, and what the counts say.

Entries are placed in float64, by a product where the definition divides: an entry on an edge goes
to either side, and none 1e-6 away to the wrong one.
"""

from __future__ import annotations

import triton
import triton.language as tl

from wsa_kernels.fused.constants import NEAR_ZERO, RANGE_BINS, Z_BINS, Z_PER_UNIT
from wsa_kernels.fused.power_sums import ratio


@triton.jit
def place(w, valid, mean, std, low, high, z, ranges, near_zero, away):
    """Add a tile of entries to the counts of their bins, [64] each, and to two scalars.

    `z` are 64 bins of (w - mean) / std on [-4, 4], the outer ones open, `ranges` 50 on [low, high];
    `near_zero` counts |w| < 1e-3 std and `away` sums |w - mean|. All but the tile are float64.
    """
    exact = w.to(tl.float64)
    off = exact - mean
    z_bin = (off * ratio(tl.full([], Z_PER_UNIT, tl.float64), std) + Z_BINS // 2).to(tl.int32)
    z_bin = tl.where(valid, tl.minimum(tl.maximum(z_bin, 0), Z_BINS - 1), 0)
    range_bin = ((exact - low) * ratio(tl.full([], RANGE_BINS, tl.float64), high - low)).to(
        tl.int32
    )
    range_bin = tl.where(valid, tl.minimum(tl.maximum(range_bin, 0), RANGE_BINS - 1), 0)
    # No mask: Triton (3.6.0, 3.7.1) orders what a histogram reads as it likes, the entries of a
    # product otherwise than their mask: on an H200 a bin of 2,800 entries was off by 542.
    absent = tl.sum((valid == 0).to(tl.int32))
    first = (tl.arange(0, Z_BINS) == 0).to(tl.int32) * absent
    z += tl.histogram(tl.ravel(z_bin), Z_BINS) - first
    ranges += tl.histogram(tl.ravel(range_bin), Z_BINS) - first
    near_zero += tl.sum((valid & (tl.abs(exact) < std * NEAR_ZERO)).to(tl.int32))
    away += tl.sum(tl.where(valid, tl.abs(off), 0.0))
    return z, ranges, near_zero, away


@triton.jit
def entropy(shares):
    """Return -sum p ln p; of p = 0 nothing."""
    return -tl.sum(shares * tl.log(tl.where(shares > 0, shares, 1.0)))


@triton.jit
def outside(shares, deviations):
    """Return the share of the bins that lie farther than whole deviations from the mean."""
    bins, away = tl.arange(0, Z_BINS), deviations * Z_PER_UNIT
    farther = (bins < Z_BINS // 2 - away) | (bins >= Z_BINS // 2 + away)
    return tl.sum(tl.where(farther, shares, 0.0))


@triton.jit
def store_placed(out, normal_ptr, n, z, ranges, near_zero, away):
    """Write the fields of `Histogram` of n entries, given ln q of the normal's bins, [64]."""
    bins = tl.arange(0, Z_BINS)
    each = 1 / n
    z_shares = z.to(tl.float64) * each
    own = entropy(z_shares)
    tl.store(out + bins, z_shares)
    tl.store(out + Z_BINS, entropy(ranges.to(tl.float64) * each))
    tl.store(out + Z_BINS + 1, own)
    tl.store(out + Z_BINS + 2, -own - tl.sum(z_shares * tl.load(normal_ptr + bins)))
    tl.store(out + Z_BINS + 3, outside(z_shares, 2))
    tl.store(out + Z_BINS + 4, outside(z_shares, 3))
    tl.store(out + Z_BINS + 5, near_zero * each)
    tl.store(out + Z_BINS + 6, away * each)
