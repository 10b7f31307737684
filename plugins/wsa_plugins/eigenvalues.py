"""Eigenvalues: every squared singular value of every layer; an update's without forming it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

from wsa_kernels.delta import factored
from wsa_kernels.layerwise import Part, gathered
from wsa_kernels.matrices import Delta, Factors, Matrices
from wsa_kernels.spectrum import energies

if TYPE_CHECKING:
    from torch import Tensor


class Eigenvalues(NamedTuple):
    """Of equally shaped layers of some adapters: the eigenvalues of W W^T, greatest first."""

    adapters: slice
    layers: Tensor  # [G] int64
    values: Tensor  # [n * G, k] float64
    rows: int
    cols: int


def eigenvalues(matrices: Matrices, backend: str | None = None) -> tuple[Eigenvalues, ...]:
    """Compute all of them; the library's solver is the only form, so that backends are equal."""
    found = _of_updates(matrices) if isinstance(matrices, Delta) else _of_factors(matrices)
    return tuple(found)


def leading(matrices: Matrices, count: int, backend: str | None = None) -> Tensor:
    """Return the first singular values of every layer, padded with 0, [N, L, count]."""
    parts = (
        Part(each.adapters, each.layers, _padded(each.values.sqrt(), count))
        for each in eigenvalues(matrices)
    )
    (found,) = gathered(matrices, parts, (count,))
    return found if count > 1 else found.unsqueeze(-1)


def _padded(values: Tensor, count: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, max(0, count - values.shape[1])))[:, :count]


def _of_factors(matrices: Factors) -> Iterator[Eigenvalues]:
    for adapters, layers, values in matrices.tiles():
        batch = values.double().flatten(0, 1).contiguous()
        yield Eigenvalues(adapters, layers, energies(batch), batch.shape[1], batch.shape[2])


def _of_updates(matrices: Delta) -> Iterator[Eigenvalues]:
    for part in factored(matrices):
        found = energies(part.left())[:, : min(part.rows, part.cols)]
        yield Eigenvalues(part.adapters, part.modules, found, part.rows, part.cols)
