"""Extrema: the least, the greatest and the greatest absolute entry of every layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.delta import factored, in_blocks
from wsa_kernels.layerwise import Part, entrywise, gathered, per_layer
from wsa_kernels.matrices import Delta, Matrices
from wsa_kernels.operation import Operation

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
    return _of_ends(minimum, maximum)


def _of_ends(minimum: Tensor, maximum: Tensor) -> Tensor:
    return torch.stack([minimum, maximum, torch.maximum(maximum, -minimum)], -1)


def _parts(matrices: Delta) -> Iterator[Part]:
    for part in factored(matrices):
        describe = _of_vectors if part.up.shape[-1] == 1 else _of_updates
        yield Part(part.adapters, part.modules, describe(part.scaled, part.down))


def _of_vectors(up: Tensor, down: Tensor) -> Tensor:
    """Describe updates of rank 1: their extrema are products of their factors'."""
    ends = [torch.stack([each.amin((1, 2)), each.amax((1, 2))], -1) for each in (up, down)]
    products = (ends[0].unsqueeze(-1) * ends[1].unsqueeze(1)).flatten(1)
    return _of_ends(products.amin(-1), products.amax(-1))


def _of_updates(up: Tensor, down: Tensor) -> Tensor:
    minima, maxima = zip(*in_blocks(up, down, _ends), strict=True)
    return _of_ends(torch.stack(minima).amin(0), torch.stack(maxima).amax(0))


def _ends(values: Tensor, some: slice) -> tuple[Tensor, Tensor]:
    entries = values.flatten(1)
    return entries.amin(-1), entries.amax(-1)


def extrema_reference(matrices: Matrices) -> Extrema:
    """Compute eagerly."""
    if isinstance(matrices, Delta) and matrices.takes_short_cuts:
        return Extrema(*gathered(matrices, _parts(matrices), WIDTHS))
    return Extrema(*per_layer(matrices, entrywise(_core), WIDTHS))


def extrema_compiled(matrices: Matrices) -> Extrema:
    """Compute with the library: compiled code takes 2.5 times as long, for NaN's sake."""
    return extrema_reference(matrices)


def extrema_triton(matrices: Matrices) -> Extrema:
    """Compute on a GPU, every layer in one launch, which the moments share."""
    from wsa_kernels.fused.statistics import statistics

    found = statistics(matrices)
    return Extrema(found.minimum.float(), found.maximum.float(), found.max_abs.float())


extrema = Operation("extrema", extrema_reference, extrema_compiled, extrema_triton)
