"""Distribution: quantiles, spread, shape, tails and a histogram of the entries of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
BINS = 16
FEATURES = (
    *(f"q{percent:02d}" for percent in PERCENTS),
    *SHAPE,
    *(f"hist_{i}" for i in range(1, BINS + 1)),
)


class Distribution:
    """How the entries of a layer are distributed."""

    name = "distribution"
    version = 2

    def columns(self, layers: Layers) -> list[Column]:
        """Name the 31 columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 31]."""
        some, bins, order = batch.once(moments), batch.once(histogram), batch.once(quantiles)
        percentiles = order.at(*(percent / 100 for percent in PERCENTS))
        cv = ratio(some.std, some.mean.abs() + some.std)
        spread = (order.iqr, bins.absolute_deviation, cv, some.skewness, some.kurtosis)
        shape = torch.stack([*spread, bins.tail_2, bins.tail_3, bins.near_zero], -1)
        counted = bins.z.reshape(*bins.z.shape[:2], BINS, -1).sum(-1)
        return torch.cat([percentiles, shape, counted], -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Distribution()]
