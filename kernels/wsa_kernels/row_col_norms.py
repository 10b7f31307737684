"""Row and column norms of every layer: their mean, spread and maximum, and their profile.

The profile is the root-mean-square norm of 32 equal contiguous groups of rows (columns), cut at
floor(i * rows / 32); fewer than 32 rows give the norm of each, padded with 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.delta import factored
from wsa_kernels.layerwise import Core, Part, gathered, per_layer, side_by_side, split
from wsa_kernels.matrices import Delta, Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import average, centred, column_total, deviation, total

GROUPS = 32
WIDTHS = (1, 1, 1, 1, 1, 1, GROUPS, GROUPS)

# Maps norms [B, m] to their mean, std and maximum, [B, 3].
Statistics = Callable[[Tensor], Tensor]


class RowColNorms(NamedTuple):
    """Statistics of the norms of a layer's rows and columns; std has ddof 1."""

    row_mean: Tensor  # [N, L]
    row_std: Tensor  # [N, L]
    row_max: Tensor  # [N, L]
    col_mean: Tensor  # [N, L]
    col_std: Tensor  # [N, L]
    col_max: Tensor  # [N, L]
    row_profile: Tensor  # [N, L, 32]
    col_profile: Tensor  # [N, L, 32]


def _core(statistics: Statistics) -> Core:
    def core(values: Tensor) -> Tensor:
        exact = values.double()
        square = exact.square()
        # a norm of one entry is its size, and a float64 root takes as long as ten other passes
        single = [exact[..., 0] if exact.shape[-1] == 1 else None]
        single += [exact[:, 0] if exact.shape[-2] == 1 else None]
        return _describe((total(square), column_total(square)), single, statistics)

    return core


def _narrow_core(left: Tensor, right: Tensor) -> Tensor:
    """Map an update's left [B, out, R] and right [B, R, in] to its fields, [B, 70]."""
    energies = (total(left.square()), column_total(right.square()))
    return _describe(energies, (None, None), _statistics)


def _describe(
    energies: Sequence[Tensor], single: Sequence[Tensor | None], statistics: Statistics
) -> Tensor:
    """Map the energies of rows and of columns, or their only entries, to the fields, [B, 70]."""
    norms = [
        some.sqrt() if one is None else one.abs()
        for some, one in zip(energies, single, strict=True)
    ]
    # the profile is never compiled: its short sums take six times as long then
    return torch.cat([*map(statistics, norms), *map(_profile, energies)], -1)


def _statistics(norms: Tensor) -> Tensor:
    """Return mean, std and maximum of norms [B, m], [B, 3]."""
    mean, rest = centred(norms)
    return torch.stack([mean, deviation(rest), norms.amax(-1)], -1)


def _profile(energies: Tensor) -> Tensor:
    """Return the root mean energy of each group, [B, m] -> [B, 32]."""
    count = energies.shape[-1]
    if count < GROUPS:
        return torch.nn.functional.pad(energies.sqrt(), (0, GROUPS - count))
    if count % GROUPS == 0:
        return average(energies.view(-1, GROUPS, count // GROUPS)).sqrt()
    bounds = [i * count // GROUPS for i in range(1, GROUPS)]
    return torch.stack([average(group) for group in energies.tensor_split(bounds, -1)], -1).sqrt()


def _parts(matrices: Delta, core: Callable[[Tensor, Tensor], Tensor]) -> Iterator[Part]:
    for part in factored(matrices):
        yield Part(part.adapters, part.modules, core(part.left(), part.right()))


def row_col_norms_reference(matrices: Matrices) -> RowColNorms:
    """Compute eagerly; an update's norms from its R x R core."""
    if isinstance(matrices, Delta):
        return RowColNorms(*gathered(matrices, _parts(matrices, _narrow_core), WIDTHS))
    return RowColNorms(*per_layer(matrices, _core(_statistics), WIDTHS))


def row_col_norms_compiled(matrices: Matrices) -> RowColNorms:
    """Compute with one compiled function for all shapes; an update's narrow factors eagerly."""
    if isinstance(matrices, Delta):
        return row_col_norms_reference(matrices)
    core = _core(compiled(_statistics, any_shape=True))
    return RowColNorms(*per_layer(matrices, core, WIDTHS))


def row_col_norms_triton(matrices: Matrices) -> RowColNorms:
    """Compute on a GPU, an update's norms from its R x R core; ranks beyond 64 with a library."""
    from wsa_kernels.fused.gram import beyond
    from wsa_kernels.fused.marginals import marginals
    from wsa_kernels.fused.update_norms import update_norms

    if not isinstance(matrices, Delta):
        return RowColNorms(*split(marginals(matrices).norms, WIDTHS))
    found = update_norms(matrices)
    if large := beyond(matrices):
        found[:, large] = side_by_side(row_col_norms_reference(matrices.only(large)))
    return RowColNorms(*split(found, WIDTHS))


row_col_norms = Operation(
    "row_col_norms", row_col_norms_reference, row_col_norms_compiled, row_col_norms_triton
)
