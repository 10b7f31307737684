"""Quantiles: everything that needs the entries of a layer in order, from one sort.

Order statistics are exact; interpolation (numpy's default, linear) is done in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.fine_histogram import (
    Counted,
    FineHistogram,
    crowded,
    differential,
    gini,
    median_deviation,
    quantile_values,
    trimmed_mean,
)
from wsa_kernels.layerwise import Core, Part, gathered, per_layer
from wsa_kernels.matrices import Delta, Factors, Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import centred, deviation, logarithm, ratio, total

if TYPE_CHECKING:
    from wsa_kernels.survey import Survey

# In thousandths, so that the place of a quantile is found in integers.
THOUSANDTHS = (10, 50, 100, 125, 250, 375, 500, 625, 750, 875, 900, 950, 990)
PROBABILITIES = tuple(each / 1000 for each in THOUSANDTHS)
WIDTHS = (len(THOUSANDTHS), 1, 1, 1, 1, 1, 1, 1)


class Quantiles(NamedTuple):
    """Quantiles of a layer's entries, and other functions of their order."""

    values: Tensor  # [N, L, Q], at PROBABILITIES
    median_deviation: Tensor  # [N, L], median |w - median|
    trimmed_mean: Tensor  # [N, L], of the entries in [q10, q90]; of none: 0
    iqr: Tensor  # [N, L], q75 - q25
    bowley: Tensor  # [N, L], (q75 + q25 - 2 q50) / iqr
    moors: Tensor  # [N, L], ((e7 - e5) + (e3 - e1)) / (e6 - e2) on octiles
    gini: Tensor  # [N, L], of |w|
    differential: Tensor  # [N, L], Vasicek's m-spacing entropy of (w - mu) / s

    def at(self, *probabilities: float) -> Tensor:
        """Return the quantiles at some of PROBABILITIES, [N, L, len(probabilities)]."""
        return self.values[..., [PROBABILITIES.index(each) for each in probabilities]]


class Steps(NamedTuple):
    """Where the quantiles of n ordered entries lie: `part` of the way between two places."""

    below: Tensor  # [Q] int64
    above: Tensor  # [Q] int64
    part: Tensor  # [Q] float64

    @classmethod
    def of(cls, count: int) -> Steps:
        """Find the places of the quantiles in integers."""
        places, rests = zip(
            *(divmod((count - 1) * each, 1000) for each in THOUSANDTHS), strict=True
        )
        below, part = torch.tensor(places), torch.tensor(rests, dtype=torch.float64) / 1000
        return cls(below, (below + 1).clamp(max=count - 1), part)


class Orders(NamedTuple):
    """The entries of layers in order, and their sizes."""

    entries: Tensor  # [B, n]
    sizes: Tensor  # [B, n]

    @classmethod
    def of(cls, entries: Tensor) -> Orders:
        """Sort entries [B, n], and |entries|."""
        return cls(_sorted(entries), _sorted(entries.abs()))


def _sorted(entries: Tensor) -> Tensor:
    if entries.is_cuda:
        return entries.sort(-1).values
    # numpy sorts 30 times as fast as torch here (AVX-512)
    return torch.from_numpy(np.sort(entries.numpy(), axis=-1))


def _summarise(orders: Orders, below: Tensor, above: Tensor, part: Tensor) -> Tensor:
    """Find all fields but the last, and the standard deviation, [B, 20]."""
    ordered, sizes = orders
    low, high = ordered[:, below].double(), ordered[:, above].double()
    values = low + (high - low) * part
    constant = ordered[:, 0] == ordered[:, -1]
    scalars = [
        _median_deviation(ordered, _at(values, 500).unsqueeze(-1)),
        _trimmed_mean(ordered, _at(values, 100), _at(values, 900)),
        *_octile_shape(values),
        _gini(sizes),
        deviation(centred(ordered).entries).masked_fill(constant, 0.0),
    ]
    return torch.cat([values, torch.stack(scalars, -1)], -1)


def _at(values: Tensor, thousandths: int) -> Tensor:
    return values[:, THOUSANDTHS.index(thousandths)]


def _octile_shape(values: Tensor) -> list[Tensor]:
    """Return iqr, Bowley's skewness and Moors' kurtosis; differences of rounded quantiles lose."""
    e1, e2, e3, e4, e5, e6, e7 = (_at(values, 125 * i) for i in range(1, 8))
    iqr = e6 - e2
    return [iqr, ratio(e6 + e2 - 2 * e4, iqr), ratio((e7 - e5) + (e3 - e1), iqr)]


def _median_deviation(ordered: Tensor, median: Tensor) -> Tensor:
    """Return the median distance from the median [B, 1], without a second sort.

    The j + 1 nearest entries are neighbours in order, so that the j-th least distance (from 0)
    is the least over runs of j + 1 entries of the distance of the farther end: the run before or
    the first whose ends add up to two medians, as these sums are in order too.
    """
    count = ordered.shape[-1]

    def distance(j: int) -> Tensor:
        first, last = ordered[:, : count - j].double(), ordered[:, j:].double()
        place = torch.searchsorted(first + last, 2 * median).clamp(max=count - j - 1)
        around = torch.cat([(place - 1).clamp(min=0), place], -1)
        return torch.maximum(median - first.gather(-1, around), last.gather(-1, around) - median)

    below = distance((count - 1) // 2).amin(-1)
    return below if count % 2 else (below + distance(count // 2).amin(-1)) / 2


def _trimmed_mean(ordered: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the mean of the entries in [low, high], the first and last tenth's ends; of none 0.

    In order they are neighbours; outside of the places of the ends only ties belong to them.
    """
    count = ordered.shape[-1]
    first, last = (count - 1) // 10 + 1, (count - 1) * 9 // 10 + 1
    at_low = (ordered[:, :first] == low.unsqueeze(-1)).sum(-1)
    at_high = (ordered[:, last:] == high.unsqueeze(-1)).sum(-1)
    inner = total(ordered[:, first:last]).double()
    kept = at_low + at_high + (last - first)
    return ratio(inner + at_low * low + at_high * high, kept.double())


def _gini(sizes: Tensor) -> Tensor:
    """Return sum (2 i - n - 1) x_(i) / (n sum x), i from 1, of ordered sizes [B, n]."""
    count = sizes.shape[-1]
    places = torch.arange(1 - count, count, 2, dtype=sizes.dtype, device=sizes.device)
    return ratio(total(sizes * places), count * total(sizes))


def _differential(ordered: Tensor, std: Tensor) -> Tensor:
    """Return mean ln(n / (2 m) (z_(i+m) - z_(i-m))), m = round(sqrt n), places cut to the ends.

    Spacings of 0 are left out of the mean (Vasicek 1976 has none: his densities are continuous).
    """
    count = ordered.shape[-1]
    if count < 3:
        return torch.zeros_like(std)
    m = min(round(math.sqrt(count)), (count - 1) // 2)
    spacing = _spacings(ordered, m)
    # least is what the working dtype can divide by
    unit = std.clamp(min=torch.finfo(ordered.dtype).tiny).to(ordered.dtype)
    spacing /= unit.unsqueeze(-1)
    none = spacing.clone().eq_(0)
    logs = ratio(total(logarithm(spacing + none)).double(), count - total(none).double())
    exact = unit.double().log() - std.masked_fill(std == 0, 1.0).log()
    return (logs + exact + math.log(count / (2 * m))).masked_fill(std == 0, 0.0)


def _spacings(ordered: Tensor, m: int) -> Tensor:
    """Return x_(i+m) - x_(i-m), places cut to the ends, [B, n]."""
    spacing = torch.empty_like(ordered)
    spacing[:, :m] = ordered[:, m : 2 * m] - ordered[:, :1]
    spacing[:, m:-m] = ordered[:, 2 * m :] - ordered[:, : -2 * m]
    spacing[:, -m:] = ordered[:, -1:] - ordered[:, -2 * m : -m]
    return spacing


def from_counts(histogram: FineHistogram) -> Tensor:
    """Map counted entries to the fields side by side, [B, 20]; quantiles are within 1e-3 s."""
    counted = Counted(histogram)
    values = quantile_values(counted, THOUSANDTHS)
    constant = (histogram.std == 0).unsqueeze(-1)
    values = torch.where(constant, histogram.low.unsqueeze(-1), values)
    scalars = [
        median_deviation(counted, _at(values, 500)),
        trimmed_mean(counted, _at(values, 100), _at(values, 900)),
        *_octile_shape(values),
        gini(counted),
        differential(counted),
    ]
    found = torch.cat([values, torch.stack(scalars, -1).masked_fill(constant, 0.0)], -1)
    trimmed = len(THOUSANDTHS) + 1
    found[:, trimmed] = torch.where(constant[:, 0], histogram.low, found[:, trimmed])
    return found


def _core(summarise: Callable[..., Tensor]) -> Core:
    def core(values: Tensor) -> Tensor:
        entries = values.flatten(1)
        orders, steps = Orders.of(entries), Steps.of(entries.shape[-1])
        found = summarise(orders, *(each.to(entries.device) for each in steps))
        differential = _differential(orders.entries, found[:, -1])
        return torch.cat([found[:, :-1], differential.unsqueeze(-1)], -1)

    return core


def from_entries(entries: Tensor) -> Tensor:
    """Map entries [B, n] to the fields side by side, [B, 20]."""
    return _core(_summarise)(entries)


def _of_survey(found: Survey) -> Tensor:
    return found.order


def quantiles_reference(matrices: Matrices) -> Quantiles:
    """Compute eagerly."""
    return Quantiles(*per_layer(matrices, _core(_summarise), WIDTHS, _of_survey))


def quantiles_compiled(matrices: Matrices) -> Quantiles:
    """Compute with the library's sort and compiled code for what follows it."""
    core = _core(compiled(_summarise, any_shape=True))
    return Quantiles(*per_layer(matrices, core, WIDTHS, _of_survey))


def quantiles_triton(matrices: Matrices) -> Quantiles:
    """Compute on a GPU: a stored layer by one sort in registers, an update by counting it."""
    from wsa_kernels.fused.order import stored_parts

    if isinstance(matrices, Factors):
        return Quantiles(*gathered(matrices, stored_parts(matrices), WIDTHS))
    return Quantiles(*gathered(matrices, _counted_parts(matrices), WIDTHS))


def _counted_parts(matrices: Delta) -> Iterator[Part]:
    """Yield what the counts of updates tell; those that counts cannot describe are sorted."""
    from wsa_kernels.fused.fine_counts import fine_histograms

    for adapters, modules, histogram in fine_histograms(matrices):
        found = from_counts(histogram)
        for row in crowded(histogram.counts, histogram.std).nonzero().flatten().tolist():
            adapter, place = divmod(row, len(modules))
            update = matrices.update(adapters.start + adapter, int(modules[place]))
            found[row] = from_entries(update.view(1, -1))[0]
        yield Part(adapters, modules, found)


quantiles = Operation("quantiles", quantiles_reference, quantiles_compiled, quantiles_triton)
