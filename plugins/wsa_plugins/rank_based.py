"""Rank-based statistics: quantiles of every layer, and location, spread and shape from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.quantiles import quantiles

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99)
SHAPE = ("iqr", "mad_median", "trimmed_mean", "bowley", "moors", "gini")
FEATURES = (*(f"q{percent:02d}" for percent in PERCENTS), *SHAPE)


class RankBased:
    """Statistics that a few wild entries cannot move."""

    name = "rank_based"
    version = 2
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the fifteen columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 15]."""
        order = batch.once(quantiles)
        percentiles = order.at(*(percent / 100 for percent in PERCENTS))
        spread = (order.iqr, order.median_deviation, order.trimmed_mean)
        shape = torch.stack([*spread, order.bowley, order.moors, order.gini], -1)
        return torch.cat([percentiles, shape], -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [RankBased()]
