"""Unterthiner's seven: mean, variance and five quantiles of every stored tensor.

The features of Unterthiner et al. 2020, "Predicting Neural Network Accuracy from Weights".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.extrema import extrema
from wsa_kernels.moments import moments
from wsa_kernels.quantiles import quantiles

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

PERCENTS = (25, 50, 75)
FEATURES = ("mean", "variance", "q00", *(f"q{percent}" for percent in PERCENTS), "q100")


class Unterthiner:
    """Where the entries of a layer lie and how far apart; variance with ddof 1."""

    name = "unterthiner"
    version = 1
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the seven columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 7]."""
        some = batch.once(moments)
        variance = some.std.double().square().clamp(max=torch.finfo(torch.float32).max)
        inner = batch.once(quantiles).at(*(percent / 100 for percent in PERCENTS))
        ends = batch.once(extrema)
        first = torch.stack([some.mean, variance, ends.minimum], -1)
        parts = [first, inner, ends.maximum[..., None]]
        return torch.cat(parts, -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Unterthiner()]
