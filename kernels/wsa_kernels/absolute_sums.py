"""Absolute sums: the entry-wise L1 norm and the matrix 1- and inf-norms of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.layerwise import per_layer
from wsa_kernels.matrices import Delta, Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import column_total, total

if TYPE_CHECKING:
    from wsa_kernels.survey import Survey

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


def _of_survey(found: Survey) -> Tensor:
    return found.absolute


def absolute_sums_reference(matrices: Matrices) -> AbsoluteSums:
    """Compute eagerly."""
    return AbsoluteSums(*per_layer(matrices, _core, WIDTHS, _of_survey))


def absolute_sums_compiled(matrices: Matrices) -> AbsoluteSums:
    """Compute with one compiled function for all shapes."""
    core = compiled(_core, any_shape=True)
    return AbsoluteSums(*per_layer(matrices, core, WIDTHS, _of_survey))


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
