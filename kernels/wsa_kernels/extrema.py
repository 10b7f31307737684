"""Extrema: the least, the greatest and the greatest absolute entry of every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from wsa_kernels.layerwise import entrywise, per_layer
from wsa_kernels.matrices import Matrices
from wsa_kernels.operation import Operation

if TYPE_CHECKING:
    from wsa_kernels.survey import Survey

WIDTHS = (1, 1, 1)


class Extrema(NamedTuple):
    """One number per layer of each adapter, each [N, L]."""

    minimum: Tensor
    maximum: Tensor
    max_abs: Tensor


def _core(entries: Tensor) -> Tensor:
    """Map [B, n] to the three extrema, [B, 3]."""
    # two passes: aminmax with an axis takes 20 times as long as amin and amax together
    minimum, maximum = entries.amin(-1), entries.amax(-1)
    return torch.stack([minimum, maximum, torch.maximum(maximum, -minimum)], -1)


def _of_survey(found: Survey) -> Tensor:
    minimum, maximum = found.extrema.unbind(-1)
    return torch.stack([minimum, maximum, torch.maximum(maximum, -minimum)], -1)


def extrema_reference(matrices: Matrices) -> Extrema:
    """Compute eagerly."""
    return Extrema(*per_layer(matrices, entrywise(_core), WIDTHS, _of_survey))


def extrema_compiled(matrices: Matrices) -> Extrema:
    """Compute with the library: compiled code takes 2.5 times as long, for NaN's sake."""
    return extrema_reference(matrices)


def extrema_triton(matrices: Matrices) -> Extrema:
    """Compute on a GPU, every layer in one launch, which the moments share."""
    from wsa_kernels.fused.statistics import statistics

    found = statistics(matrices)
    return Extrema(found.minimum.float(), found.maximum.float(), found.max_abs.float())


extrema = Operation("extrema", extrema_reference, extrema_compiled, extrema_triton)
