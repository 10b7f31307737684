"""Update norms: energies of the rows and columns of updates that are never formed.

With T T^T = down down^T, row i of scale * up @ down has the norm of row i of scale * up @ T, which
is only R wide; with S S^T = up^T up, column j has that of column j of scale * S^T @ down. Sums of
squares: none comes out below zero, and zeros in a factor, or in its rank, stay exactly zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.norms import FIELDS, axes, describe
from wsa_kernels.fused.roots import Roots, roots
from wsa_kernels.fused.table import TABLE_TYPES, Build, first_entry, table
from wsa_kernels.matrices import Delta, Factors, runs

# Vectors at once and warps, by K: up to 8 a program holds K x K products of each in registers,
# from 16 on tensor cores do the work.
SHAPES = {1: (256, 1), 2: (128, 1), 4: (64, 1), 8: (32, 1), 16: (64, 2), 32: (32, 4), 64: (32, 8)}


@triton.jit
def _energies_kernel(
    flat_ptr,  # [N, P]
    roots_ptr,  # [N, G, K, K] float64
    scale_ptr,  # [N, G] float64
    factors_ptr,  # [G]: the layers with the rows, or the columns
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    starts_ptr,  # [G]
    energies_ptr,  # [N, V] float64
    row_stride,
    width,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    UP: tl.constexpr,
):
    adapter, place = tl.program_id(0).to(tl.int64), tl.program_id(1)  # N * P outgrows int32
    matrix = adapter * tl.num_programs(1) + place
    factor = tl.load(factors_ptr + place)
    rows, cols = tl.load(rows_ptr + factor), tl.load(cols_ptr + factor)
    first = first_entry(flat_ptr, offsets_ptr, row_stride, factor)
    i, j = tl.arange(0, K)[:, None], tl.arange(0, K)[None, :]
    root = tl.load(roots_ptr + matrix * K * K + j * K + i) * tl.load(scale_ptr + matrix)
    out = energies_ptr + adapter * width + tl.load(starts_ptr + place)
    if UP:
        _store_energies(first, root, out, rows, cols, cols, 1, K, BLOCK)
    else:
        _store_energies(first, root, out, cols, rows, 1, cols, K, BLOCK)


@triton.jit
def _store_energies(
    first, root, out, vectors, rank, apart, along, K: tl.constexpr, BLOCK: tl.constexpr
):
    """Write the sum of squares of a transposed root [K, K] times each vector of R entries."""
    for begin in range(0, vectors, BLOCK):
        # vectors along the lanes: sums over R stay in one
        r, vector = tl.arange(0, K)[:, None], begin + tl.arange(0, BLOCK)[None, :]
        valid = (r < rank) & (vector < vectors)
        w = tl.load(first + r * along + vector * apart, mask=valid, other=0.0).to(tl.float64)
        # a sum of one term hides the load, as in `gram.py`
        x = tl.sum(w[:, :, None], 2)
        if K >= 16:
            y = tl.dot(root, x, input_precision="ieee", out_dtype=tl.float64)
        else:
            y = tl.sum(root[:, :, None] * x[None, :, :], 1)
        places = begin + tl.arange(0, BLOCK)
        tl.store(out + places, tl.sum(y * y, 0), mask=places < vectors)


def update_norms(matrices: Delta) -> Tensor:
    """Return the fields of `RowColNorms` side by side, [N, M, 70], of ranks up to 64."""
    flat, shape = matrices.flat, (len(matrices.flat), matrices.count, FIELDS)
    out = torch.empty(shape, dtype=torch.float32, device=flat.device)
    for found in roots(matrices):
        _describe(matrices, found, out)
    return out


def _describe(matrices: Delta, found: Roots, out: Tensor) -> None:
    shapes, device = matrices.layout.shapes, out.device
    ups, downs = zip(*(matrices.layout.pairs[module] for module in found.modules), strict=True)
    sizes = [(shapes[up][0], shapes[down][1]) for up, down in zip(ups, downs, strict=True)]
    places = axes(found.modules, sizes, device)
    scale = matrices.scale[:, list(found.modules)].double()
    for part in runs(len(out), 8 * places.width, out.is_cuda):
        some = Factors(matrices.flat[part], matrices.layout)
        shape, by = (len(some.flat), places.width), scale[part].contiguous()
        energies = torch.empty(shape, dtype=torch.float64, device=device)
        _launch(some, by, found.down[part], ups, places.starts[0], energies, up=True)
        _launch(some, by, found.up[part], downs, places.starts[1], energies, up=False)
        describe(energies, places, out[part])


def _launch(
    matrices: Factors,
    scale: Tensor,
    found: Tensor,
    factors: Sequence[int],
    starts: Tensor,
    energies: Tensor,
    up: bool,
) -> None:
    flat, k = matrices.flat, found.shape[-1]
    block, warps = SHAPES[k]
    places = torch.tensor(factors, dtype=torch.int32, device=flat.device)
    _energies_kernel[(len(flat), len(factors))](
        flat,
        found,
        scale,
        places,
        *table(matrices),
        starts,
        energies,
        flat.stride(0),
        energies.shape[1],
        K=k,
        BLOCK=block,
        UP=up,
        num_warps=warps,
    )


_TYPES = {
    "roots_ptr": "*fp64",
    "scale_ptr": "*fp64",
    "factors_ptr": "*i32",
    **TABLE_TYPES,
    "starts_ptr": "*i64",
    "energies_ptr": "*fp64",
    "row_stride": "i32",
    "width": "i32",
}
_RANKS = [("*fp32", k) for k in SHAPES] + [("*fp16", 4), ("*bf16", 16)]
BUILDS = tuple(
    Build(
        _energies_kernel,
        {"flat_ptr": pointer, **_TYPES},
        {"K": k, "BLOCK": SHAPES[k][0], "UP": up},
        warps=SHAPES[k][1],
        registers=200,
        instructions=("DMMA",) if k >= 16 else (),
    )
    for pointer, k in _RANKS
    for up in (True, False)
)
