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
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.layerwise import Core, per_layer
from wsa_kernels.matrices import Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import average, centred, deviation, entropy, share_below

if TYPE_CHECKING:
    from wsa_kernels.survey import Survey

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


class Bounded(NamedTuple):
    """Entries, and the least and the greatest of each layer.

    Compiled code takes 2.5 times as long as the library to find these, for NaN's sake.
    """

    entries: Tensor  # [B, n]
    low: Tensor  # [B]
    high: Tensor  # [B]

    @classmethod
    def of(cls, entries: Tensor) -> Bounded:
        """Find the ends of [B, n]."""
        return cls(entries, entries.amin(-1), entries.amax(-1))


class Places(NamedTuple):
    """Where the entries of layers [B, n] fall."""

    z: Tensor  # [B, n] int32, bin of z
    range: Tensor  # [B, n] int32, bin of [min, max]
    near_zero: Tensor  # [B]
    absolute_deviation: Tensor  # [B]
    constant: Tensor  # [B] bool


def _place(bounded: Bounded) -> Places:
    """Place the entries of layers."""
    values, low, high = bounded.entries, bounded.low.double(), bounded.high.double()
    mean, entries = centred(values)
    constant = low == high
    s = deviation(entries).masked_fill(constant, 1.0)
    z = _bins(entries, -4 * s, 8 * s, Z_BINS)
    spread = (high - low).masked_fill(constant, 1.0)
    ranges = _bins(entries, low - mean, spread, RANGE_BINS)
    near_zero = share_below(values.abs(), NEAR_ZERO * s)
    return Places(z, ranges, near_zero, average(entries.abs()), constant)


def _bins(entries: Tensor, start: Tensor, length: Tensor, number: int) -> Tensor:
    """Return the bin of each entry among equal ones from a start, the outer bins open."""
    places = entries * (number / length).unsqueeze(-1)
    places.sub_((start * number / length).unsqueeze(-1))
    return places.clamp_(0, number - 1).int()


def _count(bins: Tensor, number: int) -> Tensor:
    """Count exactly how many of each row's entries are in each bin, [B, n] -> [B, number]."""
    rows = len(bins)
    offsets = torch.arange(0, rows * number, number, dtype=torch.int32, device=bins.device)
    # int32: torch counts them twice as fast as int64
    places = bins.add_(offsets.unsqueeze(-1)).flatten()
    counts = torch.bincount(places, minlength=rows * number)
    return counts.view(rows, number)


def _core(place: Callable[[Bounded], Places]) -> Core:
    def core(values: Tensor) -> Tensor:
        found = place(Bounded.of(values.flatten(1)))
        z, ranges = _count(found.z, Z_BINS), _count(found.range, RANGE_BINS)
        return _summarise(z, ranges, *found[2:])

    return core


def _of_survey(found: Survey) -> Tensor:
    scalars = (found.near_zero, found.absolute_deviation, found.std == 0)
    return _summarise(found.z, found.ranges, *scalars)


def _summarise(
    z: Tensor, ranges: Tensor, near_zero: Tensor, absolute_deviation: Tensor, constant: Tensor
) -> Tensor:
    """Map counts [B, 64] and [B, 50], and what else was found, to the fields, [B, 71]."""
    z, ranges = (each.double() / each.sum(-1, keepdim=True) for each in (z, ranges))
    scalars = [
        entropy(ranges),
        entropy(z),
        -entropy(z) - (z * normal_shares().log().to(z.device)).sum(-1),
        _outside(z, 2),
        _outside(z, 3),
        near_zero,
        absolute_deviation,
    ]
    features = torch.cat([z, torch.stack(scalars, -1)], -1)
    return features.masked_fill(constant.unsqueeze(-1), 0.0)


def _outside(z: Tensor, bound: int) -> Tensor:
    """Return the share of |z| above a bound, which is an edge; z on it belongs to the bin above."""
    first = (4 - bound) * Z_BINS // 8
    return z[:, :first].sum(-1) + z[:, Z_BINS - first :].sum(-1)


@cache
def normal_shares() -> Tensor:
    """Return the standard normal's share of each of the 64 bins; the normal is even."""
    edges = [-4 + 8 * i / Z_BINS for i in range(1, Z_BINS // 2 + 1)]
    below = [0.0, *(math.erfc(-edge / math.sqrt(2)) / 2 for edge in edges)]
    lower = [high - low for low, high in pairwise(below)]
    return torch.tensor([*lower, *reversed(lower)], dtype=torch.float64)


def histogram_reference(matrices: Matrices) -> Histogram:
    """Compute eagerly."""
    return Histogram(*per_layer(matrices, _core(_place), WIDTHS, _of_survey))


def histogram_compiled(matrices: Matrices) -> Histogram:
    """Compute with compiled code for the bins and the library's count of them."""
    core = _core(compiled(_place, any_shape=True))
    return Histogram(*per_layer(matrices, core, WIDTHS, _of_survey))


def histogram_triton(matrices: Matrices) -> Histogram:
    """Compute on a GPU, every layer in one launch after that of the statistics."""
    from wsa_kernels.fused.bins import bins

    return Histogram(*bins(matrices))


histogram = Operation("histogram", histogram_reference, histogram_compiled, histogram_triton)
