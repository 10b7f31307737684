"""Spectra: from Gram matrices, or the roots of an update's, to every field of a spectrum.

With S S^T = up^T up and T T^T = down down^T an update has the singular values of scale * S^T T.
Fields lie outermost, [42, N, L]: neighbouring lanes describe neighbouring layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import le

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.gram import by_side, gram
from wsa_kernels.fused.jacobi import WARPS, column_lengths
from wsa_kernels.fused.lanes import (
    WIDEST,
    columns_of_lanes,
    energies_of_lanes,
    in_order,
    store_lanes,
)
from wsa_kernels.fused.roots import Roots, noise, roots
from wsa_kernels.fused.summaries import store_summaries
from wsa_kernels.fused.table import Build
from wsa_kernels.matrices import Delta, Factors, Matrices, runs

FIELDS = 42
# Matrices a program, by K: one a lane, then the columns of a warp.
EACH = {1: 32, 2: 32, 4: 32, 8: 4, 16: 2, 32: 1, 64: 1}


@triton.jit
def _spectra_kernel(
    left_ptr,  # [N, G, K, K] float64: Gram matrices, or roots S
    right_ptr,  # [N, G, K, K] float64: roots T
    scale_ptr,  # [N, G] float64
    level_ptr,  # [N, G] int32
    layers_ptr,  # [G] int32
    limits_ptr,  # [2, G] float64: parts of the first energy, and singular value, that are noise
    out_ptr,  # [42, N, L]
    field_stride,
    total,
    groups,
    layers,
    K: tl.constexpr,
    EACH: tl.constexpr,
    UPDATE: tl.constexpr,
):
    begin = tl.program_id(0).to(tl.int64) * EACH
    matrix = begin + tl.arange(0, EACH)
    valid, group = matrix < total, matrix % groups
    if K <= WIDEST:
        w = columns_of_lanes(left_ptr, right_ptr, matrix * (K * K), valid, K, UPDATE)
        energies = energies_of_lanes(w, K, UPDATE)
    else:
        w = _loaded(left_ptr, right_ptr, begin, total, K, EACH, UPDATE)
        energies = _energies(w, K, EACH, UPDATE)
    # loaded last: before, they would keep registers that 64 columns need
    level = tl.load(level_ptr + matrix, mask=valid, other=0)
    noise = tl.load(limits_ptr + group, mask=valid, other=0.0)
    tolerance = tl.load(limits_ptr + groups + group, mask=valid, other=0.0)
    out = out_ptr + matrix // groups * layers + tl.load(layers_ptr + group, mask=valid, other=0)
    factor = _factor(scale_ptr, matrix, valid, UPDATE)
    _store(out, energies, factor, noise, level, tolerance, valid, field_stride, K)


@triton.jit
def _factor(scale_ptr, matrix, valid, UPDATE: tl.constexpr):
    """Return what energies are multiplied by."""
    if not UPDATE:
        return tl.full(matrix.shape, 1.0, tl.float64)
    scale = tl.load(scale_ptr + matrix, mask=valid, other=0.0)
    return scale * scale


@triton.jit
def _store(out, energies, factor, noise, level, tolerance, valid, step, K: tl.constexpr):
    """Put energies in order, take their noise away and write what follows from them."""
    if K <= WIDEST:
        energies = in_order(energies, factor, noise, K)
        store_lanes(out, energies, level, tolerance, valid, step, K)
    else:
        energies *= factor[:, None]
        least = (noise * tl.max(energies, 1))[:, None]
        energies = tl.sort(tl.where(energies <= least, 0.0, energies), descending=True)
        store_summaries(out, energies, level, tolerance, valid, step, K)


@triton.jit
def _loaded(left_ptr, right_ptr, begin, total, K: tl.constexpr, EACH: tl.constexpr, UPDATE):
    """Return K x K matrices side by side, [K, EACH * K]."""
    lane, i = tl.arange(0, EACH * K)[None, :], tl.arange(0, K)[:, None]
    matrix = begin + lane // K
    first, inside = matrix * K * K, (matrix < total) & (i < K)
    if not UPDATE:
        places = first + i * K + lane % K
        if K <= 32:
            # wide loads would spread a column over lanes, and every sum over it
            places = tl.max_contiguous(places, (1, 1))
        return tl.load(left_ptr + places, mask=inside, other=0.0)
    w = tl.zeros([K, EACH * K], tl.float64)
    for r in range(K):
        places = tl.max_contiguous(first + r * K + i, (1, 1))
        left = tl.load(left_ptr + places, mask=inside, other=0.0)
        right = tl.load(right_ptr + first + r * K + lane % K, mask=matrix < total, other=0.0)
        w += left * right
    return w


@triton.jit
def _energies(w, K: tl.constexpr, EACH: tl.constexpr, UPDATE: tl.constexpr):
    """Return the squared singular values, unordered, [EACH, K]."""
    # float64 holds the fourth power of float32 entries, but not the eighth
    reach = tl.max(tl.reshape(tl.max(tl.abs(w), 0), [EACH, K]), 1)[:, None]
    unit = tl.broadcast_to(tl.where(reach > 0, 1 / tl.where(reach > 0, reach, 1.0), 1.0), [EACH, K])
    w = w * tl.reshape(unit, [EACH * K])[None, :]
    lengths = tl.reshape(column_lengths(w, K), [EACH, K]) * reach
    return lengths * lengths if UPDATE else lengths


def spectra(matrices: Matrices) -> Tensor:
    """Return the fields of `Spectrum` side by side, [N, L, 42]; those of a side beyond 64 are 0."""
    flat, shape = matrices.flat, (FIELDS, len(matrices.flat), matrices.count)
    # places beyond a layer's last singular value are zeros, and no kernel writes them
    out = torch.zeros(shape, dtype=torch.float32, device=flat.device)
    if isinstance(matrices, Delta):
        for found in roots(matrices):
            _describe_updates(matrices, found, out)
    else:
        for k, wide, layers in _groups(matrices):
            each = 8 * k * k * len(layers)
            for adapters in runs(len(flat), each, flat.is_cuda):
                part = Factors(flat[adapters], matrices.layout)
                _describe_stored(part, k, wide, layers, out[:, adapters])
    return out.permute(1, 2, 0)


def _groups(matrices: Factors) -> Iterator[tuple[int, bool, list[int]]]:
    """Yield K, whether matrices are wide (as are all of one row or column), and their layers."""
    for k, layers in by_side(matrices):
        are_wide = {layer: k == 1 or le(*matrices.layout.shapes[layer]) for layer in layers}
        for wide in sorted(set(are_wide.values())):
            yield k, wide, [layer for layer in layers if are_wide[layer] == wide]


def _describe_stored(
    matrices: Factors, k: int, wide: bool, layers: Sequence[int], out: Tensor
) -> None:
    found, level = gram(matrices, layers, wide, k, each=False)
    sizes = [max(matrices.layout.shapes[layer]) for layer in layers]
    limits = _limits(matrices, layers, sizes)
    _launch(found, found, found, level, layers, limits, out, update=False)


def _describe_updates(matrices: Delta, found: Roots, out: Tensor) -> None:
    shapes, modules = matrices.layout.shapes, list(found.modules)
    ups, downs = zip(*(matrices.layout.pairs[module] for module in modules), strict=True)
    sizes = [max(shapes[up][0], shapes[down][1]) for up, down in zip(ups, downs, strict=True)]
    scale = matrices.scale[:, modules].double().contiguous()
    limits = _limits(matrices, ups, sizes)
    _launch(found.up, found.down, scale, found.level, modules, limits, out, update=True)


def _limits(matrices: Matrices, layers: Sequence[int], sizes: Sequence[int]) -> Tensor:
    tolerance = torch.tensor(sizes, dtype=torch.float64) * torch.finfo(torch.float32).eps
    return torch.stack([noise(matrices, layers), tolerance.to(matrices.flat.device)])


def _launch(
    left: Tensor,
    right: Tensor,
    scale: Tensor,
    level: Tensor,
    layers: Sequence[int],
    limits: Tensor,
    out: Tensor,
    update: bool,
) -> None:
    k, total = left.shape[-1], level.numel()
    each = EACH[k]
    places = torch.tensor(layers, dtype=torch.int32, device=out.device)
    _spectra_kernel[(triton.cdiv(total, each),)](
        left,
        right,
        scale,
        level,
        places,
        limits,
        out,
        out.stride(0),
        total,
        len(layers),
        out.shape[-1],
        K=k,
        EACH=each,
        UPDATE=update,
        num_warps=WARPS[k],
    )


_TYPES = {
    "left_ptr": "*fp64",
    "right_ptr": "*fp64",
    "scale_ptr": "*fp64",
    "level_ptr": "*i32",
    "layers_ptr": "*i32",
    "limits_ptr": "*fp64",
    "out_ptr": "*fp32",
    "field_stride": "i64",
    "total": "i32",
    "groups": "i32",
    "layers": "i32",
}
BUILDS = tuple(
    Build(
        _spectra_kernel,
        _TYPES,
        {"K": k, "EACH": each, "UPDATE": update},
        warps=WARPS[k],
        registers=112 if k <= WIDEST.value else 170,
        absent=("SHFL", "BAR") if k <= WIDEST.value else (),
    )
    for k, each in EACH.items()
    for update in (False, True)
)
