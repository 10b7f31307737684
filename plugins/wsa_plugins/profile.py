"""Profile: the norms of 32 groups of rows and 32 groups of columns of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.row_col_norms import GROUPS, row_col_norms

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

FEATURES = tuple(f"{axis}_{i}" for axis in ("row", "col") for i in range(1, GROUPS + 1))


class Profile:
    """Which outputs a layer writes to and which inputs it reads: groups follow attention heads."""

    name = "profile"
    version = 2

    def columns(self, layers: Layers) -> list[Column]:
        """Name the 64 columns of each layer."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 64]."""
        norms = batch.once(row_col_norms)
        return torch.cat([norms.row_profile, norms.col_profile], -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Profile()]
