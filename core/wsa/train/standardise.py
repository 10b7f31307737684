"""Features made comparable: centred and scaled by the training split, then smoothly clipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsa.errors import NothingVaries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# Of the largest absolute value: float32 rounding leaves about 1e-7 of it in a constant column.
CONSTANT = 1e-6
# Where the clip saturates, in standard deviations: RealMLP's (Holzmueller et al. 2024, App. A).
CLIP = 3.0
# Columns worked on at once: bounds the float64 copy to 8 KiB an adapter.
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Standard:
    """What the training split says of D columns, of which C vary."""

    kept: Tensor  # [C] int64, the columns that vary
    mean: Tensor  # [C] float64
    std: Tensor  # [C] float64, ddof 0
    columns: int  # D

    @property
    def constant(self) -> int:
        """How many columns were dropped because they do not vary."""
        return self.columns - len(self.kept)


def fit(features: Tensor) -> Standard:
    """Measure the columns of [n, D] training features.

    Raises NothingVaries where there is nothing to learn from.
    """
    parts = [_moments(block.double()) for block in torch.split(features, BLOCK, dim=1)]
    mean, std, size = (torch.cat(column) for column in zip(*parts, strict=True))
    kept = torch.nonzero(std > CONSTANT * size).flatten()
    if not len(kept):
        raise NothingVaries(
            f"a classifier needs a feature that varies; all {features.shape[1]} columns are "
            f"constant over the {len(features)} training adapters; choose another representation"
        )
    return Standard(kept, mean[kept], std[kept], features.shape[1])


def _moments(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return block.mean(0), block.std(0, correction=0), block.abs().amax(0)


def apply(standard: Standard, features: Tensor) -> Tensor:
    """Standardise [n, D] features to [n, C] float32: x / sqrt(1 + (x / c)^2) of the z-scores."""
    out = features.new_empty((len(features), len(standard.kept)))
    for start, columns in _blocks(standard):
        stop = start + len(columns)
        values = features[:, columns].double()
        scores = (values - standard.mean[start:stop]) / standard.std[start:stop]
        out[:, start:stop] = scores / torch.sqrt(1 + (scores / CLIP) ** 2)
    return out


def _blocks(standard: Standard) -> Iterator[tuple[int, Tensor]]:
    for index, columns in enumerate(torch.split(standard.kept, BLOCK)):
        yield index * BLOCK, columns
