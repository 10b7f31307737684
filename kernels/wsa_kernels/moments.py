"""Moments: mean, spread and shape of the entries of every layer.

mean; std with ddof 1; skewness m_3 / m_2^1.5 and kurtosis m_4 / m_2^2 of m_k = mean((w - mu)^k).
A constant layer has 0 for all but its mean. Centred first, in float64: float32 powers would lose
w^4 below 1e-10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.delta import means
from wsa_kernels.layerwise import Core, Part, entrywise, gathered, per_layer
from wsa_kernels.matrices import Delta, Matrices
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import average, centred, ratio
from wsa_kernels.update_moments import moments_of_updates

WIDTHS = (1, 1, 1, 1)


class Moments(NamedTuple):
    """One number per layer of each adapter, each [N, L]."""

    mean: Tensor
    std: Tensor
    skewness: Tensor
    kurtosis: Tensor


def _core(entries: Tensor) -> Tensor:
    """Map [B, n] to the four moments, [B, 4]."""
    mean, rest = centred(entries)
    count, square = rest.shape[-1], rest.square()
    second, third = average(square), average(square * rest)
    fourth = average(square.square_())
    std = (second * count / max(1, count - 1)).sqrt()
    return torch.stack([mean, std, *_shape(second, third, fourth)], -1)


def _shape(second: Tensor, third: Tensor, fourth: Tensor) -> list[Tensor]:
    """Return skewness and kurtosis from central moments."""
    return [ratio(third, second * second.sqrt()), ratio(fourth, second.square())]


def _parts(matrices: Delta) -> Iterator[Part]:
    for adapters, modules, found in moments_of_updates(matrices):
        mean, std, *central = found.unbind(-1)
        yield Part(adapters, modules, torch.stack([mean, std, *_shape(*central)], -1))


def _moments(matrices: Matrices, core: Core, fused: bool = False) -> Moments:
    if isinstance(matrices, Delta) and matrices.takes_short_cuts:
        return Moments(*gathered(matrices, _parts(matrices), WIDTHS))
    found = Moments(*per_layer(matrices, entrywise(core), WIDTHS, fused=fused))
    if isinstance(matrices, Delta):
        # a mean of 10^5 products that nearly cancel: taken from the factors' sums it is exact
        return found._replace(mean=means(matrices))
    return found


def moments_reference(matrices: Matrices) -> Moments:
    """Compute eagerly."""
    return _moments(matrices, _core)


def moments_compiled(matrices: Matrices) -> Moments:
    """Compute with one compiled function for all shapes."""
    return _moments(matrices, compiled(_core, any_shape=True), fused=True)


def moments_triton(matrices: Matrices) -> Moments:
    """Compute on a GPU, every layer in one launch."""
    from wsa_kernels.fused.statistics import statistics

    found = Moments(*(each.float() for each in statistics(matrices)[:4]))
    return found._replace(mean=means(matrices)) if isinstance(matrices, Delta) else found


moments = Operation("moments", moments_reference, moments_compiled, moments_triton)
