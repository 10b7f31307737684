"""Statistics: mean, spread, median, extrema, skewness and kurtosis of every layer."""

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

FEATURES = ("mean", "std", "median", "min", "max", "skewness", "kurtosis")


class Stats:
    """Where the entries of a layer lie, how far apart, and the shape of their distribution."""

    name = "stats"
    version = 2
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the seven columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 7]."""
        some, ends = batch.once(moments), batch.once(extrema)
        (median,) = batch.once(quantiles).at(0.50).unbind(-1)
        places = (some.mean, some.std, median, ends.minimum, ends.maximum)
        return torch.stack([*places, some.skewness, some.kurtosis], -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Stats()]
