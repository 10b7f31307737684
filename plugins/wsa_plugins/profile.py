"""Profile: the norms of 32 groups of rows and 32 groups of columns of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.row_col_norms import GROUPS, row_col_norms
from wsa_plugins.profiles import profiles

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation

MOST = 4096


@dataclass(frozen=True)
class Profile:
    """Which outputs a layer writes to and which inputs it reads: groups follow attention heads."""

    groups: int = GROUPS  # of rows, and of columns

    name = "profile"
    version = 2
    invariances = ("gauge",)

    def __post_init__(self) -> None:
        if not 1 <= self.groups <= MOST:
            raise ValueError(f"groups needs 1 to {MOST}; got {self.groups}")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the columns of each layer: 64 with 32 groups."""
        numbers = range(1, self.groups + 1)
        return columns_of(layers, [f"{axis}_{i}" for axis in ("row", "col") for i in numbers])

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, L * 2 groups]."""
        if self.groups == GROUPS:
            norms = batch.once(row_col_norms)
            rows, columns = norms.row_profile, norms.col_profile
        else:
            rows, columns = batch.once(profiles, self.groups)
        return torch.cat([rows, columns], -1).flatten(1).float()


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Profile()]
