"""Absolute sums: the entry-wise L1 norm and the matrix 1- and inf-norms of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.delta import factored, in_blocks
from wsa_kernels.layerwise import Core, Part, gathered, per_layer
from wsa_kernels.matrices import Delta, Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import column_total, total

WIDTHS = (1, 1, 1)


class AbsoluteSums(NamedTuple):
    """One number per layer of each adapter, each [N, L]."""

    l1: Tensor  # sum of |w|
    one: Tensor  # greatest column sum of |w|
    inf: Tensor  # greatest row sum of |w|


def _core(values: Tensor) -> Tensor:
    """Map [B, rows, cols] to the three norms, [B, 3]."""
    size = values.abs()
    rows = total(size)  # [B, rows]
    return torch.stack([total(rows), column_total(size).amax(-1), rows.amax(-1)], -1)


def _parts(matrices: Delta) -> Iterator[Part]:
    for part in factored(matrices):
        describe = _of_vectors if part.up.shape[-1] == 1 else _of_updates
        yield Part(part.adapters, part.modules, describe(part.scaled, part.down))


def _of_vectors(up: Tensor, down: Tensor) -> Tensor:
    """Describe updates of rank 1: their sums are products of their factors'."""
    sizes = [each.abs().flatten(1) for each in (up, down)]
    (rows, cols), (high, wide) = map(total, sizes), (each.amax(-1) for each in sizes)
    return torch.stack([rows * cols, rows * wide, high * cols], -1)


def _of_updates(up: Tensor, down: Tensor) -> Tensor:
    some_rows, columns = zip(*in_blocks(up, down, _sums), strict=True)
    rows = torch.cat(some_rows, -1)  # [B, out]
    one = torch.stack(columns, -1).sum(-1).amax(-1)
    return torch.stack([total(rows), one, rows.amax(-1)], -1)


def _sums(values: Tensor, some: slice) -> tuple[Tensor, Tensor]:
    sizes = values.abs_()
    return total(sizes), column_total(sizes)


def _absolute_sums(matrices: Matrices, core: Core) -> AbsoluteSums:
    if isinstance(matrices, Delta) and matrices.takes_short_cuts:
        return AbsoluteSums(*gathered(matrices, _parts(matrices), WIDTHS))
    return AbsoluteSums(*per_layer(matrices, core, WIDTHS))


def absolute_sums_reference(matrices: Matrices) -> AbsoluteSums:
    """Compute eagerly."""
    return _absolute_sums(matrices, _core)


def absolute_sums_compiled(matrices: Matrices) -> AbsoluteSums:
    """Compute with one compiled function for all shapes; updates on the CPU eagerly."""
    return _absolute_sums(matrices, compiled(_core, any_shape=True))


def absolute_sums_triton(matrices: Matrices) -> AbsoluteSums:
    """Compute on a GPU, by the launches that moments and row and column norms share."""
    from wsa_kernels.fused.marginals import marginals
    from wsa_kernels.fused.statistics import statistics
    from wsa_kernels.fused.updates import update_statistics

    if isinstance(matrices, Delta):
        found = update_statistics(matrices)
        return AbsoluteSums(found.l1.float(), found.one.float(), found.inf.float())
    l1 = statistics(matrices).l1.float()
    inf, one = marginals(matrices).sums.unbind(-1)
    return AbsoluteSums(l1, one, inf)


absolute_sums = Operation(
    "absolute_sums", absolute_sums_reference, absolute_sums_compiled, absolute_sums_triton
)
