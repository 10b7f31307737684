"""Information theory: entropies of the entries of every layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.histogram import RANGE_BINS, histogram
from wsa_kernels.quantiles import quantiles

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

FEATURES = ("entropy", "entropy_normalised", "entropy_z", "kl_normal", "differential")


class InfoTheoretic:
    """How evenly the entries of a layer fill their range, and how unlike a normal's they are."""

    name = "info_theoretic"
    version = 2
    invariances = ("gauge", "permutation")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the five columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 5]."""
        bins, differential = batch.once(histogram), batch.once(quantiles).differential
        normalised = bins.entropy / math.log(RANGE_BINS)
        found = (bins.entropy, normalised, bins.entropy_z, bins.kl_normal, differential)
        return torch.stack(found, -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [InfoTheoretic()]
