"""Profiles: root-mean-square norms of any number of groups of rows and of columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from wsa_kernels.delta import factored
from wsa_kernels.layerwise import Part, gathered
from wsa_kernels.matrices import Delta, Factors, Matrices
from wsa_kernels.reductions import average, column_total, total

if TYPE_CHECKING:
    from torch import Tensor


class Energies(NamedTuple):
    """Of equally shaped layers of some adapters: the energy of every row and of every column."""

    adapters: slice
    layers: Tensor  # [G] int64
    rows: Tensor  # [n * G, rows] float64
    columns: Tensor  # [n * G, cols] float64


def profiles(matrices: Matrices, groups: int, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Return the profile of rows and of columns, [N, L, groups] each.

    Group i starts at floor(i * rows / groups); fewer rows give the norm of each, padded with 0.
    """
    parts = (
        Part(each.adapters, each.layers, torch.cat([profile(e, groups) for e in each[2:]], -1))
        for each in energies(matrices)
    )
    (found,) = gathered(matrices, parts, (2 * groups,))
    return found[..., :groups], found[..., groups:]


def energies(matrices: Matrices) -> Iterator[Energies]:
    """Yield the energies of rows and columns, an update's from its R x R core."""
    return _of_updates(matrices) if isinstance(matrices, Delta) else _of_factors(matrices)


def _of_factors(matrices: Factors) -> Iterator[Energies]:
    for adapters, layers, values in matrices.tiles():
        square = values.double().flatten(0, 1).contiguous().square()
        yield Energies(adapters, layers, total(square), column_total(square))


def _of_updates(matrices: Delta) -> Iterator[Energies]:
    for part in factored(matrices):
        rows, columns = total(part.left().square()), column_total(part.right().square())
        yield Energies(part.adapters, part.modules, rows, columns)


def profile(energy: Tensor, groups: int) -> Tensor:
    """Return the root mean energy of each group, [B, m] -> [B, groups]."""
    count = energy.shape[-1]
    if count < groups:
        return torch.nn.functional.pad(energy.sqrt(), (0, groups - count))
    bounds = [i * count // groups for i in range(1, groups)]
    return torch.stack([average(group) for group in energy.tensor_split(bounds, -1)], -1).sqrt()
