"""Fine histogram: order statistics of entries that were counted, never sorted.

32,768 equal bins cover the caller's range: 20 s makes a bin 6.1e-4 s wide, 32 s 9.8e-4 s. Within a
bin entries are taken to be evenly spread. By Cantelli's inequality no more than 1 % of
any distribution lies further than 9.95 s to one side: every quantile asked for is inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.reductions import ratio

BINS = 1 << 15
REACH = 10.0  # of s; `fine_range`
# A product of two normal factors has 1 in 400 entries in its fullest bin. Fuller ones, of heavy
# tails or many equal entries, hide Vasicek's spacings inside: such layers are sorted.
MOST_IN_A_BIN = 1 / 128
# Places at which Vasicek's spacings are averaged; they change little from one to the next.
SPACINGS = 1 << 13


class FineHistogram(NamedTuple):
    """Counts of entries in equal bins on [low, high]; all beyond lie in the outer ones."""

    counts: Tensor  # [B, bins] integers
    low: Tensor  # [B] float64
    high: Tensor  # [B] float64
    l1: Tensor  # [B] float64, sum of |w|
    std: Tensor  # [B] float64, ddof 1; 0 for a constant layer


def fine_range(minimum: Tensor, maximum: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, ...]:
    """Return the low and the high end of the bins, in float32 as entries are placed in it."""
    low = torch.maximum(minimum, mean - REACH * std)
    return low.float(), torch.minimum(maximum, mean + REACH * std).float()


def crowded(counts: Tensor, std: Tensor) -> Tensor:
    """Say which layers have too many entries in one bin to be described by counts, [B] bool.

    A constant layer is described exactly.
    """
    return (counts.amax(-1) > MOST_IN_A_BIN * counts.sum(-1)) & (std > 0)


class Counted:
    """Layers as their cumulative counts: ranks to values and values to ranks, in bins."""

    def __init__(self, histogram: FineHistogram) -> None:
        self.low, self.high, self.l1, self.std = histogram[1:]
        below = torch.nn.functional.pad(histogram.counts.long().cumsum(-1), (1, 0))
        self.below = below.double()  # [B, bins + 1], entries left of each edge
        self.bins = histogram.counts.shape[-1]
        self.count = int(histogram.counts[0].sum()) if len(histogram.counts) else 0
        self.width = (self.high - self.low) / self.bins  # [B]

    def place(self, ranks: Tensor) -> Tensor:
        """Return where entries of ranks [B, k] from 0 lie, in bins from the low end, [B, k]."""
        ranks = ranks.contiguous()
        bins = (torch.searchsorted(self.below, ranks, right=True) - 1).clamp(0, self.bins - 1)
        start, end = self.below.gather(-1, bins), self.below.gather(-1, bins + 1)
        return bins + ((ranks + 0.5 - start) / (end - start).clamp_min(1)).clamp(0, 1)

    def rank(self, places: Tensor) -> Tensor:
        """Return how many entries lie left of places [B, k] in bins, [B, k]."""
        places = places.clamp(0, self.bins)
        bins = places.floor().clamp_max(self.bins - 1)
        start, end = (self.below.gather(-1, bins.long() + i) for i in (0, 1))
        return start + (end - start) * (places - bins)

    def value(self, places: Tensor) -> Tensor:
        """Return the values at places [B, k]."""
        return self.low.unsqueeze(-1) + self.width.unsqueeze(-1) * places

    def within(self, centre: Tensor, distances: Tensor) -> Tensor:
        """Return how many entries lie nearer to centre [B] than distances [B, k], all in bins."""
        centre = centre.unsqueeze(-1)
        return self.rank(centre + distances) - self.rank(centre - distances)


def quantile_values(counted: Counted, thousandths: Sequence[int]) -> Tensor:
    """Return quantiles of every layer, interpolated between two entries as numpy does, [B, Q]."""
    where = [divmod((counted.count - 1) * each, 1000) for each in thousandths]
    ranks = [rank for rank, _ in where] + [rank + (rest > 0) for rank, rest in where]
    wanted = torch.tensor(ranks, dtype=torch.float64, device=counted.low.device)
    below, above = counted.place(wanted.expand(len(counted.low), -1)).chunk(2, -1)
    rests = torch.tensor([rest / 1000 for _, rest in where], device=below.device)
    return counted.value(below + (above - below) * rests)


def median_deviation(counted: Counted, median: Tensor) -> Tensor:
    """Return the median distance from the median, [B]."""
    centre = (median - counted.low) / counted.width.masked_fill(counted.width == 0, 1.0)
    distances = torch.arange(counted.bins + 1, device=median.device, dtype=median.dtype)
    within = counted.within(centre, distances.expand(len(median), -1))
    middle = [(counted.count - 1) // 2 + 0.5, counted.count // 2 + 0.5]
    wanted = torch.tensor(middle, dtype=median.dtype, device=median.device)
    after = torch.searchsorted(within, wanted.repeat(len(median), 1)).clamp(1, counted.bins)
    above, below = within.gather(-1, after), within.gather(-1, after - 1)
    part = ((wanted - below) / (above - below).clamp_min(1e-9)).clamp(0, 1)
    return (after - 1 + part).mean(-1) * counted.width


def trimmed_mean(counted: Counted, low: Tensor, high: Tensor) -> Tensor:
    """Return the mean of the entries between two values [B], [B]."""
    width = counted.width.masked_fill(counted.width == 0, 1.0)
    ends = torch.stack([(low - counted.low) / width, (high - counted.low) / width], -1)
    edges = torch.arange(counted.bins + 1, device=low.device, dtype=low.dtype)
    left = counted.rank(torch.minimum(torch.maximum(edges, ends[:, :1]), ends[:, 1:]))
    inside = left.diff(dim=-1)  # [B, bins]
    sums = (inside * counted.value(edges[:-1] + 0.5)).sum(-1)
    return ratio(sums, inside.sum(-1))


def gini(counted: Counted) -> Tensor:
    """Return the Gini coefficient of |w|, [B]; sizes beyond the bins all rank last."""
    width = counted.width.masked_fill(counted.width == 0, 1.0)
    zero = -counted.low / width
    nearest = torch.maximum(-zero, zero - counted.bins).clamp_min(0).unsqueeze(-1)
    distances = nearest + torch.arange(counted.bins + 1, device=zero.device, dtype=zero.dtype)
    within = counted.within(zero, distances)
    inside = within.diff(dim=-1)
    sizes = inside * (distances[:, :-1] + 0.5) * counted.width.unsqueeze(-1)
    spread = (sizes * (2 * within[:, :-1] + inside - counted.count)).sum(-1)
    beyond = (counted.l1 - sizes.sum(-1)).clamp_min(0)
    return ratio(spread + counted.count * beyond, counted.count * counted.l1)


def differential(counted: Counted) -> Tensor:
    """Return Vasicek's m-spacing entropy, [B], averaged over evenly spaced ranks.

    A spacing within one bin counts as 0, and is left out: as many equal entries would be.
    """
    count = counted.count
    if count < 3:
        return torch.zeros_like(counted.low)
    m = min(round(math.sqrt(count)), (count - 1) // 2)
    number = min(count, SPACINGS)
    ranks = ((torch.arange(number, device=counted.low.device) + 0.5) * (count / number)).floor()
    ends = torch.stack([(ranks - m).clamp_min(0), (ranks + m).clamp_max(count - 1)]).double()
    first, last = (counted.place(each.expand(len(counted.low), -1)) for each in ends)
    apart = last.floor() > first.floor()
    spacing = ((last - first) * counted.width.unsqueeze(-1)).masked_fill(~apart, 1.0)
    logs = ratio(spacing.log().sum(-1), apart.sum(-1).double())
    scale = counted.std.masked_fill(counted.std == 0, 1.0).log()
    return logs + math.log(count / (2 * m)) - scale
