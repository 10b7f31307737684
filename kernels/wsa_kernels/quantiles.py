"""Quantiles: everything that needs the entries of a layer in order, from one sort.

Order statistics are exact; interpolation (numpy's default, linear) is done in float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.fine_histogram import (
    Counted,
    FineHistogram,
    differential,
    gini,
    median_deviation,
    quantile_values,
    trimmed_mean,
)
from wsa_kernels.layerwise import Core, Part, gathered, per_layer
from wsa_kernels.matrices import Factors, Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import centred, deviation, ratio, total

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


def _sorted(entries: Tensor) -> Tensor:
    if entries.is_cuda:
        return entries.sort(-1).values
    # numpy sorts 15 times as fast as torch here (AVX-512)
    return torch.from_numpy(np.sort(entries.numpy(), axis=-1))


def _summarise(orders: Tensor) -> Tensor:
    """Map sorted entries and sorted |entries|, [B, 2, n], to the fields side by side, [B, 20]."""
    ordered, sizes = orders[:, 0], orders[:, 1]
    exact = ordered.double()
    values = torch.stack([_quantile(exact, each) for each in THOUSANDTHS], -1)
    low, high = _at(values, 100), _at(values, 900)
    inside = (exact >= low.unsqueeze(-1)) & (exact <= high.unsqueeze(-1))
    scalars = [
        _median_deviation(exact, _at(values, 500).unsqueeze(-1)),
        ratio(total(exact * inside), inside.sum(-1).double()),
        *_octile_shape(values),
        _gini(sizes.double()),
        _differential(exact),
    ]
    return torch.cat([values, torch.stack(scalars, -1)], -1)


def _quantile(ordered: Tensor, thousandths: int) -> Tensor:
    place, rest = divmod((ordered.shape[-1] - 1) * thousandths, 1000)
    if rest == 0:
        return ordered[:, place]
    low, high = ordered[:, place], ordered[:, place + 1]
    return low + (high - low) * (rest / 1000)


def _at(values: Tensor, thousandths: int) -> Tensor:
    return values[:, THOUSANDTHS.index(thousandths)]


def _octile_shape(values: Tensor) -> list[Tensor]:
    """Return iqr, Bowley's skewness and Moors' kurtosis; differences of rounded quantiles lose."""
    e1, e2, e3, e4, e5, e6, e7 = (_at(values, 125 * i) for i in range(1, 8))
    iqr = e6 - e2
    return [iqr, ratio(e6 + e2 - 2 * e4, iqr), ratio((e7 - e5) + (e3 - e1), iqr)]


def _median_deviation(ordered: Tensor, median: Tensor) -> Tensor:
    """Return the median distance from the median, without a second sort.

    The j + 1 nearest entries are neighbours in order, so that the j-th least distance (from 0)
    is the least over runs of j + 1 entries of the distance of the farther end.
    """
    count = ordered.shape[-1]

    def distance(j: int) -> Tensor:
        first, last = ordered[:, : count - j], ordered[:, j:]
        return torch.maximum(median - first, last - median).amin(-1)

    below = distance((count - 1) // 2)
    return below if count % 2 else (below + distance(count // 2)) / 2


def _gini(sizes: Tensor) -> Tensor:
    """Return sum (2 i - n - 1) x_(i) / (n sum x), i from 1, of ordered sizes [B, n]."""
    count = sizes.shape[-1]
    places = torch.arange(1 - count, count, 2, dtype=sizes.dtype, device=sizes.device)
    return ratio(total(sizes * places), count * total(sizes))


def _differential(ordered: Tensor) -> Tensor:
    """Return mean ln(n / (2 m) (z_(i+m) - z_(i-m))), m = round(sqrt n), places cut to the ends.

    Spacings of 0 are left out of the mean (Vasicek 1976 has none: his densities are continuous).
    """
    count = ordered.shape[-1]
    if count < 3:
        return ordered.new_zeros(len(ordered))
    m = min(round(math.sqrt(count)), (count - 1) // 2)
    spacing = torch.cat(
        [
            ordered[:, m : 2 * m] - ordered[:, :1],
            ordered[:, 2 * m :] - ordered[:, : -2 * m],
            ordered[:, -1:] - ordered[:, -2 * m : -m],
        ],
        -1,
    )
    _, entries, constant = centred(ordered)
    apart = spacing > 0
    logs = total(spacing.masked_fill(~apart, 1.0).log())
    scale = deviation(entries).masked_fill(constant, 1.0)
    found = ratio(logs, apart.sum(-1).double()) + math.log(count / (2 * m)) - scale.log()
    return found.masked_fill(constant, 0.0)


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


def _core(summarise: Core) -> Core:
    def core(values: Tensor) -> Tensor:
        entries = values.flatten(1)
        return summarise(torch.stack([_sorted(entries), _sorted(entries.abs())], 1))

    return core


def quantiles_reference(matrices: Matrices) -> Quantiles:
    """Compute eagerly."""
    return Quantiles(*per_layer(matrices, _core(_summarise), WIDTHS))


def quantiles_compiled(matrices: Matrices) -> Quantiles:
    """Compute with the library's sort and compiled code for what follows it."""
    return Quantiles(*per_layer(matrices, _core(compiled(_summarise)), WIDTHS))


def quantiles_triton(matrices: Matrices) -> Quantiles:
    """Compute on a GPU: a stored layer by one sort in registers, an update by counting it."""
    from wsa_kernels.fused.fine_counts import fine_histograms
    from wsa_kernels.fused.order import stored_parts

    if isinstance(matrices, Factors):
        return Quantiles(*gathered(matrices, stored_parts(matrices), WIDTHS))
    parts = (
        Part(adapters, modules, from_counts(histogram))
        for adapters, modules, histogram in fine_histograms(matrices)
    )
    return Quantiles(*gathered(matrices, parts, WIDTHS))


quantiles = Operation("quantiles", quantiles_reference, quantiles_compiled, quantiles_triton)
