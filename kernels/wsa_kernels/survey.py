"""Survey: how the entries of large updates lie, in bins and in order, from one traversal.

An update is formed in float64, a block of rows at a time that stays in a core's cache. Its mean and
deviation are known before, from its factors, so that its entries can be counted at once: in bins so
fine that order statistics follow from the counts, and whose sums are the histogram's bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.fine_histogram import BINS, FineHistogram, crowded
from wsa_kernels.gram import gram, product
from wsa_kernels.histogram import NEAR_ZERO, RANGE_BINS, Z_BINS
from wsa_kernels.matrices import Delta, working_dtype
from wsa_kernels.quantiles import from_counts, from_entries
from wsa_kernels.reductions import total

# Updates of more entries are surveyed, others formed and sorted: on one core 320 x 320 take 2.5 ms
# sorted and 3.5 surveyed, 384 x 384 3.1 and 3.1, 640 x 640 7.9 and 4.9, 1280 x 1280 50 and 12.
MOST_SORTED = 1 << 17
# A multiple of a z bin; all quantiles from 0.01 to 0.99 lie within 9.95 s of the mean (Cantelli).
RANGE = 16.0  # of s; a bin is 9.8e-4 s wide
BLOCK = 1 << 16  # entries: 512 KiB of float64


class Survey(NamedTuple):
    """What was found of B updates; all but the counts float64."""

    std: Tensor  # [B]
    near_zero: Tensor  # [B], share of |w| < 1e-3 s
    absolute_deviation: Tensor  # [B], mean |w - mu|
    z: Tensor  # [B, 64], counts of z in equal bins on [-4, 4], the outer ones open
    order: Tensor  # [B, 20], the fields of `Quantiles` side by side
    ranges: Tensor  # [B, 50], counts in equal bins on [min, max]


class Surveyed(NamedTuple):
    """The survey of some modules of one adapter."""

    adapters: slice
    modules: Tensor  # [G] int64
    survey: Survey


def surveys(matrices: Delta) -> list[Surveyed]:
    """Survey every update of more than MOST_SORTED entries, at most once."""
    return matrices.shared.once("survey", lambda: list(_surveys(matrices)))


def _surveys(matrices: Delta) -> Iterator[Surveyed]:
    for modules, up, down, scale in matrices.pairs():
        if up.shape[-2] * down.shape[-1] <= MOST_SORTED:
            continue
        room = Room.of(up.shape[-2], down.shape[-1], working_dtype(up))
        for adapter in range(len(up)):
            scaled = up[adapter].double() * scale[adapter].double()[:, None, None]  # [G, out, R]
            pairs = zip(scaled, down[adapter].double(), strict=True)
            found = [_survey(each, other, room) for each, other in pairs]
            survey = Survey(*(torch.stack(field) for field in zip(*found, strict=True)))
            yield Surveyed(slice(adapter, adapter + 1), modules, survey)


class Room(NamedTuple):
    """Memory for one update at a time: new pages for each took a third of the time."""

    entries: Tensor  # [out, in], in the working dtype
    places: Tensor  # [out, in] int32, their bins

    @classmethod
    def of(cls, rows: int, cols: int, dtype: torch.dtype) -> Room:
        """Make room for an update [out, in]."""
        return cls(torch.empty(rows, cols, dtype=dtype), torch.empty(rows, cols, dtype=torch.int32))


def _survey(up: Tensor, down: Tensor, room: Room) -> Survey:
    """Survey one update, up [out, R] @ down [R, in]."""
    mean, std = _mean_and_deviation(up, down)
    near_zero, l1, deviation = _traverse(up, down, float(mean), float(std), room)
    low, high = room.entries.amin().double(), room.entries.amax().double()
    std = std.masked_fill(low == high, 0.0)
    counts = torch.bincount(room.places.flatten(), minlength=BINS)
    return Survey(
        std,
        near_zero / room.entries.numel(),
        deviation / room.entries.numel(),
        _z_counts(counts),
        _order(room.entries, counts, mean, std, l1),
        _range_counts(room, float(low), float(high)),
    )


def _traverse(up: Tensor, down: Tensor, mean: float, std: float, room: Room) -> Tensor:
    """Form an update block by block: keep its entries and fine bins, and return what is added up.

    Of all entries: whether |w| < 1e-3 s, |w| and |w - mu|.
    """
    sums, step = [], max(1, BLOCK // down.shape[-1])
    for start in range(0, len(up), step):
        rows = slice(start, start + step)
        values = product(up[rows], down)
        room.entries[rows] = values
        sizes = values.abs()
        found = [_sum(sizes), _sum(sizes.lt_(NEAR_ZERO * std))]
        places = values.sub_(mean)
        sums.append(torch.stack([*reversed(found), _sum(torch.abs(places, out=sizes))]))
        places.mul_(BINS / (2 * RANGE) / (std or 1.0)).add_(BINS / 2)
        room.places[rows] = places.clamp_(0, BINS - 1)
    return torch.stack(sums).sum(0)


def _order(entries: Tensor, counts: Tensor, mean: Tensor, std: Tensor, l1: Tensor) -> Tensor:
    """Return the fields of `Quantiles`, from counts unless too many entries are in one bin."""
    if crowded(counts, std):
        return from_entries(entries.view(1, -1))[0]
    ends = (mean - RANGE * std, mean + RANGE * std)
    histogram = FineHistogram(*(each.unsqueeze(0) for each in (counts, *ends, l1, std)))
    return from_counts(histogram)[0]


def _sum(values: Tensor) -> Tensor:
    return total(values.flatten())


def _mean_and_deviation(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation (ddof 1) of up @ down, from sums of squares alone.

    Less the mean the update is a sum of three parts that are orthogonal: of rows, of columns, and
    of both factors centred; no digits cancel, however far off the mean is.
    """
    rows, cols = up.mean(0, keepdim=True), down.mean(-1, keepdim=True)  # [1, R], [R, 1]
    inner, outer = up - rows, down - cols
    both = (gram(inner.mT) * gram(outer)).sum()
    of_rows = product(inner, cols).square().sum() * down.shape[-1]
    of_cols = product(rows, outer).square().sum() * len(up)
    freedom = len(up) * down.shape[-1] - 1
    squares = (both + of_rows + of_cols).clamp(min=0.0)
    return product(rows, cols).squeeze(), (squares / freedom).sqrt()


def _range_counts(room: Room, low: float, high: float) -> Tensor:
    """Count entries in equal bins on [low, high]."""
    entries, places = room.entries.view(-1), room.places.view(-1)
    for start in range(0, len(entries), BLOCK):
        part = slice(start, start + BLOCK)
        bins = entries[part].double().sub_(low).mul_(RANGE_BINS / ((high - low) or 1.0))
        places[part] = bins.clamp_(0, RANGE_BINS - 1)
    return torch.bincount(places, minlength=RANGE_BINS)


def _z_counts(counts: Tensor) -> Tensor:
    """Add fine bins [BINS] up to those of z in 64 bins on [-4, 4], the outer ones open."""
    each = BINS // int(2 * RANGE * 8)
    parts = counts.view(-1, each).sum(-1)
    beyond = (len(parts) - Z_BINS) // 2
    inner = parts[beyond:-beyond].clone()
    inner[0] += parts[:beyond].sum()
    inner[-1] += parts[-beyond:].sum()
    return inner
