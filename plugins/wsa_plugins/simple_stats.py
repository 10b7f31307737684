"""Simple statistics: mean, standard deviation, median and extrema of every layer."""

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

FEATURES = ("mean", "std", "median", "min", "max")


class SimpleStats:
    """Where the entries of a layer lie, and how far apart."""

    name = "simple_stats"
    version = 2
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the five columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 5]."""
        some, ends = batch.once(moments), batch.once(extrema)
        (median,) = batch.once(quantiles).at(0.50).unbind(-1)
        found = (some.mean, some.std, median, ends.minimum, ends.maximum)
        return torch.stack(found, -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [SimpleStats()]
