"""Histogram: how a layer's entries lie about their mean: shares of them in bins, and entropies.

z = (w - mu) / s, s with ddof 1, in 64 equal bins on [-4, 4], the outer ones open; w in 50 equal
bins on [min, max]. A constant layer has 0 everywhere. Entries are placed in float64: in float32 one
may cross an edge 1e-6 away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.layerwise import Core, per_layer
from wsa_kernels.matrices import Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import average, centred, deviation, share

Z_BINS = 64
RANGE_BINS = 50
NEAR_ZERO = 1e-3  # of s
WIDTHS = (Z_BINS, 1, 1, 1, 1, 1, 1, 1)


class Histogram(NamedTuple):
    """Shares of the entries of a layer, and entropies in natural units."""

    z: Tensor  # [N, L, 64], share of z in each bin
    entropy: Tensor  # [N, L], of 50 bins on [min, max]
    entropy_z: Tensor  # [N, L], of the 64 bins
    kl_normal: Tensor  # [N, L], of the 64 bins from the standard normal's
    tail_2: Tensor  # [N, L], share of |z| > 2
    tail_3: Tensor  # [N, L], share of |z| > 3
    near_zero: Tensor  # [N, L], share of |w| < 1e-3 s
    absolute_deviation: Tensor  # [N, L], mean |w - mu|


class Places(NamedTuple):
    """Where the entries of layers [B, n] fall."""

    z: Tensor  # [B, n] int64, bin of z
    range: Tensor  # [B, n] int64, bin of [min, max]
    shares: Tensor  # [B, 4]: |z| > 2, |z| > 3, |w| < 1e-3 s; and mean |w - mu|
    constant: Tensor  # [B] bool


def _place(values: Tensor) -> Places:
    """Place the entries of [B, rows, cols]."""
    _, entries, constant = centred(values.flatten(1))
    low, high = entries.amin(-1, keepdim=True), entries.amax(-1, keepdim=True)
    spread = (high - low).masked_fill(constant.unsqueeze(-1), 1.0)
    deviations = deviation(entries).masked_fill(constant, 1.0).unsqueeze(-1)
    z = entries / deviations
    z_bin = ((z + 4) * (Z_BINS / 8)).clamp(0, Z_BINS - 1)
    range_bin = ((entries - low) / spread * RANGE_BINS).clamp(0, RANGE_BINS - 1)
    size, original = z.abs(), values.flatten(1).abs()
    near_zero = share(original < NEAR_ZERO * deviations)
    shares = [share(size > 2), share(size > 3), near_zero, average(entries.abs())]
    return Places(z_bin.long(), range_bin.long(), torch.stack(shares, -1), constant)


def _count(bins: Tensor, number: int) -> Tensor:
    """Count exactly how many of each row's entries are in each bin, [B, n] -> [B, number]."""
    rows = len(bins)
    offsets = torch.arange(rows, device=bins.device).unsqueeze(-1) * number
    counts = torch.bincount((bins + offsets).flatten(), minlength=rows * number)
    return counts.view(rows, number)


def _core(place: Callable[[Tensor], Places]) -> Core:
    def core(values: Tensor) -> Tensor:
        z_bin, range_bin, shares, constant = place(values)
        count = z_bin.shape[-1]
        z = _count(z_bin, Z_BINS).double() / count
        ranges = _count(range_bin, RANGE_BINS).double() / count
        entropies = [
            torch.special.entr(ranges).sum(-1),
            torch.special.entr(z).sum(-1),
            torch.xlogy(z, z / normal_shares().to(z.device)).sum(-1),
        ]
        found = torch.cat([z, torch.stack(entropies, -1), shares], -1)
        return found.masked_fill(constant.unsqueeze(-1), 0.0)

    return core


@cache
def normal_shares() -> Tensor:
    """Return the standard normal's share of each of the 64 bins; the normal is even."""
    edges = [-4 + 8 * i / Z_BINS for i in range(1, Z_BINS // 2 + 1)]
    below = [0.0, *(math.erfc(-edge / math.sqrt(2)) / 2 for edge in edges)]
    lower = [high - low for low, high in pairwise(below)]
    return torch.tensor([*lower, *reversed(lower)], dtype=torch.float64)


def histogram_reference(matrices: Matrices) -> Histogram:
    """Compute eagerly."""
    return Histogram(*per_layer(matrices, _core(_place), WIDTHS))


def histogram_compiled(matrices: Matrices) -> Histogram:
    """Compute with compiled code for the bins and the library's count of them."""
    return Histogram(*per_layer(matrices, _core(compiled(_place)), WIDTHS))


def histogram_triton(matrices: Matrices) -> Histogram:
    """Compute on a GPU, every layer in one launch after that of the statistics."""
    from wsa_kernels.fused.bins import bins

    return Histogram(*bins(matrices))


histogram = Operation("histogram", histogram_reference, histogram_compiled, histogram_triton)
