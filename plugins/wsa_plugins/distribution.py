"""Distribution: quantiles, spread, shape, tails and a histogram of the entries of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.histogram import histogram
from wsa_kernels.moments import moments
from wsa_kernels.quantiles import quantiles
from wsa_kernels.reductions import ratio

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

PERCENTS = (5, 10, 25, 50, 75, 90, 95)
SHAPE = ("iqr", "mad", "cv", "skewness", "kurtosis", "tail_2", "tail_3", "near_zero")
HEAD = (*(f"q{percent:02d}" for percent in PERCENTS), *SHAPE)
Bins = Literal[2, 4, 8, 16, 32, 64]


@dataclass(frozen=True)
class Distribution:
    """How the entries of a layer are distributed."""

    bins: Bins = 16  # of the histogram of z on [-4, 4]

    name = "distribution"
    version = 2
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the columns of each layer: 31 with sixteen bins."""
        return columns_of(layers, [*HEAD, *(f"hist_{i}" for i in range(1, self.bins + 1))])

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * (15 + bins)]."""
        some, bins, order = batch.once(moments), batch.once(histogram), batch.once(quantiles)
        percentiles = order.at(*(percent / 100 for percent in PERCENTS))
        cv = ratio(some.std, some.mean.abs() + some.std)
        spread = (order.iqr, bins.absolute_deviation, cv, some.skewness, some.kurtosis)
        shape = torch.stack([*spread, bins.tail_2, bins.tail_3, bins.near_zero], -1)
        counted = bins.z.reshape(*bins.z.shape[:2], self.bins, -1).sum(-1)
        return torch.cat([percentiles, shape, counted], -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Distribution()]
