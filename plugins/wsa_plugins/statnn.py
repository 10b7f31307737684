"""StatNN's eight: mean, variance, skewness and five percentiles of every stored tensor.

The features of Eilertsen et al. 2020, "Classifying the classifier: dissecting the weight space of
neural networks", which later work on weight spaces compares with as StatNN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.moments import moments
from wsa_kernels.quantiles import quantiles

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

PERCENTS = (1, 25, 50, 75, 99)
FEATURES = ("mean", "variance", "skewness", *(f"q{percent:02d}" for percent in PERCENTS))


class StatNN:
    """Like Unterthiner's, with the asymmetry, and without the two wildest entries."""

    name = "statnn"
    version = 1
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the eight columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 8]."""
        some = batch.once(moments)
        variance = some.std.double().square().clamp(max=torch.finfo(torch.float32).max)
        order = batch.once(quantiles).at(*(percent / 100 for percent in PERCENTS))
        shape = torch.stack([some.mean, variance, some.skewness], -1)
        return torch.cat([shape, order], -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [StatNN()]
