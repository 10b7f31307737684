"""Gram: the float64 Gram matrix of each stored matrix on one of its sides, one program each.

Matrices whose sides K fill the same power of two share a launch, wide and tall ones apart, as
their entries lie otherwise. A smaller side is padded with zeros, which no spectrum notices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.table import TABLE_TYPES, Build, first_entry, padded, table
from wsa_kernels.layout import ALIGNMENT
from wsa_kernels.matrices import Delta, Matrices

# beyond, a K x K tile of float64 no longer fits the registers of a block
GREATEST_SIDE = 64
# entries of the long side at once and warps, by K. Up to 8 each lane keeps K x K sums of its own:
# at 8, 64 entries at once would take more than 255 registers; from 16 on tensor cores do the work
SHAPES = {1: (256, 1), 2: (64, 1), 4: (32, 1), 8: (32, 1), 16: (64, 2), 32: (64, 4), 64: (64, 8)}


class Gram(NamedTuple):
    """What is known of some layers; `level` says where a layer, or all its rows, hold one value."""

    matrices: Tensor  # [N, G, K, K] float64
    level: Tensor  # [N, G] int32


@triton.jit
def _gram_kernel(
    flat_ptr,  # [N, P]
    layers_ptr,  # [G]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    out_ptr,  # [N, G, K, K] float64
    level_ptr,  # [N, G] int32
    row_stride,
    out_stride,
    level_stride,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
    EACH: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    adapter, place = tl.program_id(0).to(tl.int64), tl.program_id(1)  # N * P outgrows int32
    layer = tl.load(layers_ptr + place)
    rows, cols = tl.load(rows_ptr + layer), tl.multiple_of(tl.load(cols_ptr + layer), ALIGNED)
    first = first_entry(flat_ptr, offsets_ptr, row_stride, layer)
    if K == 1:
        found, odd = _of_one(first, rows * cols, BLOCK)
    elif WIDE:
        found, odd = _of_many(first, rows, cols, cols, 1, K, BLOCK, EACH)
    else:
        found, odd = _of_many(first, cols, rows, 1, cols, K, BLOCK, EACH)
    i, j = tl.arange(0, K)[:, None], tl.arange(0, K)[None, :]
    tl.store(out_ptr + adapter * out_stride + place * K * K + i * K + j, found)
    tl.store(level_ptr + adapter * level_stride + place, 1 - odd)


@triton.jit
def _of_one(first, size, BLOCK: tl.constexpr):
    """Return the sum of squares of a row or column, [1, 1], and 1 where two entries differ."""
    places_taken = padded(size)
    anchor = tl.load(first).to(tl.float32)
    sums = tl.zeros([BLOCK], tl.float64)
    odd = tl.zeros([BLOCK], tl.int1)
    for begin in tl.range(0, places_taken, BLOCK, loop_unroll_factor=2):
        j = begin + tl.arange(0, BLOCK)
        w = tl.load(first + j, mask=j < places_taken, other=0.0).to(tl.float32)
        odd = odd | ((j < size) & (w != anchor))
        x = tl.where(j < size, w, 0.0).to(tl.float64)
        sums += x * x
    return tl.sum(sums[None, None, :], 2), tl.max(odd.to(tl.int32))


@triton.jit
def _of_many(first, side, length, down, along, K: tl.constexpr, BLOCK: tl.constexpr, EACH):
    """Return the Gram matrix [K, K] of `side` rows, and 1 where two of their entries differ."""
    i = tl.arange(0, K)[:, None]
    anchor = tl.load(first + i * (down if EACH else 0), mask=i < side, other=0.0).to(tl.float32)
    odd = tl.zeros([K, BLOCK], tl.int1)
    found = tl.zeros([K, K] if K >= 16 else [K, K, BLOCK], tl.float64)
    for begin in tl.range(0, length, BLOCK, loop_unroll_factor=4 if K <= 4 else 1):
        j = begin + tl.arange(0, BLOCK)[None, :]
        valid = (i < side) & (j < length)
        w = tl.load(first + i * down + j * along, mask=valid, other=0.0).to(tl.float32)
        odd = odd | (valid & (w != anchor))
        # a sum of one term: it hides the load from the compiler, which would else give float64
        # operands the layout of 16-bit ones and fail
        x = tl.sum(w.to(tl.float64)[:, :, None], 2)
        if K >= 16:
            found = tl.dot(x, tl.trans(x), found, input_precision="ieee", out_dtype=tl.float64)
        else:
            found += x[:, None, :] * x[None, :, :]
    if K < 16:
        found = tl.sum(found, 2)
    return found, tl.max(odd.to(tl.int32))


def sides(matrices: Matrices) -> list[int]:
    """List the side of each layer's Gram matrices: the rank of an update, else the small side."""
    shapes = matrices.layout.shapes
    if isinstance(matrices, Delta):
        return [shapes[up][1] for up, _ in matrices.layout.pairs]
    return [min(shape) for shape in shapes]


def by_side(matrices: Matrices) -> Iterator[tuple[int, list[int]]]:
    """Yield each K and the layers it serves."""
    filled = [triton.next_power_of_2(side) for side in sides(matrices)]
    for k in sorted({k for k in filled if k <= GREATEST_SIDE}):
        yield k, [layer for layer, found in enumerate(filled) if found == k]


def beyond(matrices: Matrices) -> list[int]:
    """List the layers that are left to a library."""
    return [layer for layer, side in enumerate(sides(matrices)) if side > GREATEST_SIDE]


def gram(matrices: Matrices, layers: Sequence[int], wide: bool, k: int, each: bool) -> Gram:
    """Return the Gram matrices of some layers, of their rows if wide, else of their columns.

    With `each`, a layer is level where each of those rows is, on its own.
    """
    flat = matrices.flat
    places = torch.tensor(layers, dtype=torch.int32, device=flat.device)
    found = torch.empty((len(flat), len(layers), k, k), dtype=torch.float64, device=flat.device)
    level = torch.empty((len(flat), len(layers)), dtype=torch.int32, device=flat.device)
    block, warps = SHAPES[k]
    aligned = gcd(ALIGNMENT, *(matrices.layout.shapes[layer][1] for layer in layers))
    strides = (flat.stride(0), found.stride(0), level.stride(0))
    _gram_kernel[(len(flat), len(layers))](
        flat,
        places,
        *table(matrices),
        found,
        level,
        *strides,
        K=k,
        BLOCK=block,
        WIDE=wide,
        EACH=each,
        ALIGNED=aligned,
        num_warps=warps,
    )
    return Gram(found, level)


_TYPES = {
    "layers_ptr": "*i32",
    **TABLE_TYPES,
    "out_ptr": "*fp64",
    "level_ptr": "*i32",
    "row_stride": "i32",
    "out_stride": "i32",
    "level_stride": "i32",
}
# of 16-bit weights one side that lanes multiply, and one that tensor cores do
_SIDES = [("*fp32", k) for k in SHAPES] + [("*fp16", 4), ("*bf16", 16)]
BUILDS = tuple(
    Build(
        _gram_kernel,
        {"flat_ptr": pointer, **_TYPES},
        {
            "K": k,
            "BLOCK": SHAPES[k][0],
            "WIDE": wide,
            "EACH": each,
            "ALIGNED": 16 if wide else min(k, 16),
        },
        warps=SHAPES[k][1],
        registers=170,
        instructions=("DMMA",) if k >= 16 else ("LDG.E.128",) if k == 1 else (),
    )
    for pointer, k in _SIDES
    for wide in (True, False)
    for each in ((False, True) if pointer == "*fp32" else (False,))
)
