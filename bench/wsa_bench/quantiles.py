"""Quantiles: thirteen quantiles of every layer, and what else needs its entries in order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from wsa import Case
from wsa_bench.contenders import Array, kernel_case
from wsa_bench.populations import per_entry
from wsa_kernels.quantiles import PROBABILITIES, quantiles

# A mean of logarithms of small differences, and ratios of differences of quantiles, of fp32 data.
# Of an update: as the features' contract allows, 1e-3 of its standard deviation.
# Bowley's numerator is what three quantiles nearly cancel to: a twentieth of their size or less.
TOLERANCE = {"": 1e-3, "bowley": 2e-2, "differential": 2e-2}


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix."""
    entries = w.ravel()
    values = np.quantile(entries, PROBABILITIES)
    e1, e2, e3, e4, e5, e6, e7 = values[octiles()]
    low, high = values[[PROBABILITIES.index(0.1), PROBABILITIES.index(0.9)]]
    return {
        "values": values,
        "median_deviation": scipy.stats.median_abs_deviation(entries),
        "trimmed_mean": entries[(entries >= low) & (entries <= high)].mean(),
        "iqr": e6 - e2,
        "bowley": (e6 + e2 - 2 * e4) / (e6 - e2),
        "moors": ((e7 - e5) + (e3 - e1)) / (e6 - e2),
        "gini": gini(np.abs(entries)),
        "differential": differential(entries),
    }


def octiles() -> list[int]:
    """Return where the octiles stand among the quantiles."""
    return [PROBABILITIES.index(i / 8) for i in range(1, 8)]


def gini(sizes: Array) -> float:
    """Return the Gini coefficient of sizes."""
    count = len(sizes)
    places = np.arange(1 - count, count, 2)
    return float(np.sort(sizes) @ places / (count * sizes.sum(dtype=np.float64)))


def differential(entries: Array) -> float:
    """Return Vasicek's entropy of the standardised entries."""
    z = (entries - entries.mean()) / entries.std(ddof=1)
    window = round(math.sqrt(len(z)))
    return float(scipy.stats.differential_entropy(z, window_length=window, method="vasicek"))


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters, from one sort of its entries and one of their sizes."""
    entries = w.flatten(1)
    ordered = entries.sort(1).values
    values = sorted_quantiles(ordered, PROBABILITIES)
    e1, e2, e3, e4, e5, e6, e7 = values[:, octiles()].unbind(1)
    low, high = values[:, [PROBABILITIES.index(0.1)]], values[:, [PROBABILITIES.index(0.9)]]
    inside = (entries >= low) & (entries <= high)
    return {
        "values": values,
        "median_deviation": median((entries - e4[:, None]).abs()),
        "trimmed_mean": (entries * inside).sum(1) / inside.sum(1),
        "iqr": e6 - e2,
        "bowley": (e6 + e2 - 2 * e4) / (e6 - e2),
        "moors": ((e7 - e5) + (e3 - e1)) / (e6 - e2),
        "gini": batched_gini(entries),
        "differential": batched_differential(ordered),
    }


def sorted_quantiles(ordered: Tensor, probabilities: tuple[float, ...]) -> Tensor:
    """Interpolate quantiles of sorted rows [N, n]; torch.quantile would sort them again."""
    last = ordered.shape[1] - 1
    places = [last * probability for probability in probabilities]
    low = [int(place) for place in places]
    high = [min(place + 1, last) for place in low]
    rest = [place - below for place, below in zip(places, low, strict=True)]
    weights = torch.tensor(rest, dtype=ordered.dtype, device=ordered.device)
    return torch.lerp(ordered[:, low], ordered[:, high], weights)


def median(values: Tensor) -> Tensor:
    """Return the median of each row, the mean of two where there is no middle one."""
    return sorted_quantiles(values.sort(1).values, (0.5,))[:, 0]


def batched_gini(entries: Tensor) -> Tensor:
    """Return the Gini coefficient of each row's sizes."""
    sizes, count = entries.abs().sort(1).values, entries.shape[1]
    places = torch.arange(1 - count, count, 2, dtype=sizes.dtype, device=sizes.device)
    return (sizes * places).sum(1) / (count * sizes.sum(1))


def batched_differential(ordered: Tensor) -> Tensor:
    """Return Vasicek's entropy of each standardised row, from its sorted entries."""
    count = ordered.shape[1]
    m = round(math.sqrt(count))
    last = torch.nn.functional.pad(ordered, (0, m), mode="replicate")[:, m:]
    first = torch.nn.functional.pad(ordered, (m, 0), mode="replicate")[:, :-m]
    spacing = (last - first) / ordered.std(1)[:, None]
    return (spacing * (count / (2 * m))).log().mean(1)


def cases() -> list[Case]:
    """Return the flagship's case."""
    return [kernel_case(quantiles, of_matrix, of_layer, TOLERANCE, per_entry(20))]
