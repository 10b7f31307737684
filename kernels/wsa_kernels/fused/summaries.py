"""Summaries: every field of a spectrum from its energies, greatest first, in registers.

A matrix's fields lie `step` apart, its neighbour's side by side: lanes write neighbouring places.
"""

from __future__ import annotations

import triton
import triton.language as tl

from wsa_kernels.fused.constants import ENERGY_SHARES, LEADING, LOG_OF_ZERO
from wsa_kernels.fused.power_sums import ratio

LOG10_OF_E = tl.constexpr(0.43429448190325176)


@triton.jit
def store_summaries(out, energy, level, tolerance, valid, step, K: tl.constexpr):
    """Write the 42 fields of spectra [B, K]; those of values beyond K stay as they are.

    A level matrix has no gaps, and a value no more than `tolerance` of the first no condition.
    """
    sigma = tl.sqrt(energy)
    _store_leading(out, sigma, level, valid, step, K)
    _store_scalars(out + step * (3 * LEADING - 1), sigma, energy, tolerance, valid, step)


@triton.jit
def _store_leading(out, sigma, level, valid, step, K: tl.constexpr):
    place = tl.arange(0, K)[None, :]
    following = tl.gather(sigma, tl.broadcast_to((place + 1) % K, sigma.shape), 1)
    gap = sigma - tl.where(place == K - 1, 0.0, following)
    gap = tl.where((level != 0)[:, None], 0.0, ratio(gap, tl.max(sigma, 1)[:, None]))
    field = out[:, None] + place * step
    share = ratio(sigma, tl.sum(sigma, 1)[:, None])
    leading = valid[:, None] & (place < LEADING)
    tl.store(field, sigma, mask=leading)
    tl.store(field + step * LEADING, share, mask=leading)
    tl.store(field + step * (2 * LEADING), gap, mask=leading & (place < LEADING - 1))


@triton.jit
def _store_scalars(out, sigma, energy, tolerance, valid, step):
    first, nuclear, square = tl.max(sigma, 1), tl.sum(sigma, 1), tl.sum(energy, 1)
    share = ratio(sigma, nuclear[:, None])
    entropy = -tl.sum(share * tl.log(tl.where(share > 0, share, 1.0)), 1)
    tl.store(out, nuclear, mask=valid)
    tl.store(out + step, tl.sqrt(square), mask=valid)
    tl.store(out + 2 * step, entropy, mask=valid)
    tl.store(out + 3 * step, tl.where(first > 0, tl.exp(entropy), 0.0), mask=valid)
    tl.store(out + 4 * step, ratio(square, tl.max(energy, 1)), mask=valid)
    fourth = tl.sum(energy * energy, 1)
    tl.store(out + 5 * step, ratio(square * square, fourth), mask=valid)
    _store_ranks(out + 6 * step, energy, square, valid, step)
    above = tl.where(sigma > tolerance[:, None] * first[:, None], sigma, first[:, None])
    tl.store(out + 10 * step, log10(ratio(first, tl.min(above, 1))), mask=valid)
    tl.store(out + 11 * step, log10(first), mask=valid)
    tl.store(out + 12 * step, log10(nuclear), mask=valid)


@triton.jit
def _store_ranks(out, energy, square, valid, step):
    """Write how many leading energies reach 50, 90, 95 and 99 of 100 parts of their sum."""
    reached = tl.cumsum(energy, 1)
    for place in tl.static_range(4):
        below = tl.sum((reached < ENERGY_SHARES[place] * square[:, None]).to(tl.int32), 1)
        tl.store(out + place * step, tl.where(square > 0, below + 1, 0), mask=valid)


@triton.jit
def log10(values):
    """Return decimal logarithms; of 0 the value that stands for it."""
    logarithm = tl.log(tl.where(values > 0, values, 1.0)) * LOG10_OF_E
    return tl.where(values > 0, logarithm, LOG_OF_ZERO)
