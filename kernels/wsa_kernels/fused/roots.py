"""Roots: S with S S^T = G for Gram matrices, by Cholesky with pivots.

Each step takes the row that is left with the greatest share of its own energy, whatever its
scale, so that rounding is not blown up; a row left with rounding noise alone gives an exact zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.gram import by_side, gram
from wsa_kernels.fused.table import Build
from wsa_kernels.gram import EPSILON
from wsa_kernels.matrices import Delta, Matrices

# Matrices a program and warps, by K: 4 to 16 float64 entries of a matrix a lane.
EACH = {1: 128, 2: 32, 4: 8, 8: 2, 16: 1, 32: 1, 64: 1}
WARPS = {1: 1, 2: 1, 4: 1, 8: 1, 16: 1, 32: 4, 64: 8}


@triton.jit
def _root_kernel(
    gram_ptr,  # [T, K, K] float64
    noise_ptr,  # [G] float64
    out_ptr,  # [T, K, K] float64
    total,
    groups,
    K: tl.constexpr,
    EACH: tl.constexpr,
):
    matrix = tl.program_id(0).to(tl.int64) * EACH + tl.arange(0, EACH)
    i, j = tl.arange(0, K)[None, :, None], tl.arange(0, K)[None, None, :]
    places = matrix[:, None, None] * K * K + i * K + j
    inside = (matrix < total)[:, None, None]
    left = tl.load(gram_ptr + places, mask=inside, other=0.0)
    noise = tl.load(noise_ptr + matrix % groups, mask=matrix < total, other=0.0)[:, None]
    energy = tl.sum(tl.where(i == j, left, 0.0), 2)
    root = tl.zeros([EACH, K, K], tl.float64)
    for step in range(K):
        vector, chosen = _pivot(left, energy, noise, K)
        root = tl.where(j == step, vector[:, :, None], root)
        left = left - vector[:, :, None] * vector[:, None, :]
        left = tl.where(chosen[:, :, None] | chosen[:, None, :], 0.0, left)
    tl.store(out_ptr + places, root, mask=inside)


@triton.jit
def _pivot(left, energy, noise, K: tl.constexpr):
    """Return the root's next column, [B, K], and which row it takes away."""
    i, j = tl.arange(0, K)[None, :, None], tl.arange(0, K)[None, None, :]
    diagonal = tl.sum(tl.where(i == j, left, 0.0), 2)
    share = diagonal / tl.where(energy == 0, 1.0, energy)
    chosen = tl.arange(0, K)[None, :] == tl.argmax(share, 1)[:, None]
    pivot = tl.sum(tl.where(chosen, diagonal, 0.0), 1)[:, None]
    nothing = tl.sum(tl.where(chosen, share, 0.0), 1)[:, None] <= noise
    column = tl.sum(tl.where(chosen[:, None, :], left, 0.0), 2)
    return tl.where(nothing, 0.0, column / tl.sqrt(tl.where(nothing, 1.0, pivot))), chosen


class Roots(NamedTuple):
    """The roots of both factors of some modules, and where an update holds one value only."""

    modules: tuple[int, ...]  # G
    up: Tensor  # [N, G, K, K] float64, of up^T up
    down: Tensor  # [N, G, K, K] float64, of down down^T
    level: Tensor  # [N, G] int32


def roots(matrices: Delta) -> Iterator[Roots]:
    """Yield the roots of all modules, those of one K together, each computed once a shard."""
    for k, modules in by_side(matrices):
        compute = partial(_roots, matrices, k, tuple(modules))
        yield matrices.shared.once(("roots", k), compute)


def _roots(matrices: Delta, k: int, modules: tuple[int, ...]) -> Roots:
    ups, downs = zip(*(matrices.layout.pairs[module] for module in modules), strict=True)
    (up, up_level), (down, down_level) = (
        gram(matrices, ups, wide=False, k=k, each=True),
        gram(matrices, downs, wide=True, k=k, each=True),
    )
    halves = _root(matrices, up, ups), _root(matrices, down, downs)
    return Roots(modules, *halves, up_level * down_level)


def _root(matrices: Delta, grams: Tensor, layers: Sequence[int]) -> Tensor:
    k, total = grams.shape[-1], len(grams) * len(layers)
    each = EACH[k]
    out = torch.empty_like(grams)
    _root_kernel[(triton.cdiv(total, each),)](
        grams, noise(matrices, layers), out, total, len(layers), K=k, EACH=each, num_warps=WARPS[k]
    )
    return out


def noise(matrices: Matrices, layers: Sequence[int]) -> Tensor:
    """Return what rounding leaves of a Gram matrix's zeros, a part of its greatest, [G]."""
    sizes = [max(matrices.layout.shapes[layer]) * EPSILON for layer in layers]
    return torch.tensor(sizes, dtype=torch.float64, device=matrices.flat.device)


_TYPES = {
    "gram_ptr": "*fp64",
    "noise_ptr": "*fp64",
    "out_ptr": "*fp64",
    "total": "i32",
    "groups": "i32",
}
BUILDS = tuple(
    Build(
        _root_kernel,
        _TYPES,
        {"K": k, "EACH": each},
        warps=WARPS[k],
        registers=190 if k == 64 else 120,
    )
    for k, each in EACH.items()
)
