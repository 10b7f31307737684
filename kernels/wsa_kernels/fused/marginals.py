"""Marginals: norms and absolute sums of the rows and columns of every stored matrix.

A program walks its matrix twice, along rows and along columns; the second walk finds it in cache.
The sums go to scratch memory and are described from there (`norms.py`). A matrix with one row or
column needs none: its entries are the norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.constants import GROUPS, NORM_FIELDS
from wsa_kernels.fused.norms import (
    FIELDS,
    W,
    axes,
    describe,
    group_bounds,
    join,
    no_norms,
    store_axis,
)
from wsa_kernels.fused.table import STRIDE_TYPES, TABLE_TYPES, Build, first_entry, table
from wsa_kernels.layout import ALIGNMENT, Layout
from wsa_kernels.matrices import Factors, runs

# Entries of a tile: 16 a lane, each with two float64 sums.
TILE = 512


class Marginals(NamedTuple):
    """The fields of `RowColNorms` side by side, and the greatest row and column sum of |w|."""

    norms: Tensor  # [N, L, 70]
    sums: Tensor  # [N, L, 2]


@triton.jit
def _sums_kernel(
    flat_ptr,  # [N, P]
    layers_ptr,  # [G]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    starts_ptr,  # [2, G]
    energies_ptr,  # [N, V] float64
    sizes_ptr,  # [N, V] float64
    row_stride,
    width,
    groups,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    adapter, place = tl.program_id(0).to(tl.int64), tl.program_id(1)  # N * P outgrows int32
    layer = tl.load(layers_ptr + place)
    rows, cols = tl.load(rows_ptr + layer), tl.multiple_of(tl.load(cols_ptr + layer), ALIGNED)
    first = first_entry(flat_ptr, offsets_ptr, row_stride, layer)
    start = adapter * width + tl.load(starts_ptr + place)
    _add_up(first, energies_ptr + start, sizes_ptr + start, rows, cols, cols, 1, ROWS, COLS)
    start = adapter * width + tl.load(starts_ptr + groups + place)
    _add_up(first, energies_ptr + start, sizes_ptr + start, cols, rows, 1, cols, COLS, ROWS)


@triton.jit
def _add_up(
    first, energies, sizes, vectors, entries, apart, along, V: tl.constexpr, E: tl.constexpr
):
    """Write the sum of w^2 and of |w| of each row, or of each column."""
    for begin in range(0, vectors, V):
        vector = begin + tl.arange(0, V)[:, None]
        energy, size = tl.zeros([V, E], tl.float64), tl.zeros([V, E], tl.float64)
        for at in range(0, entries, E):
            entry = at + tl.arange(0, E)[None, :]
            valid = (vector < vectors) & (entry < entries)
            w = tl.load(first + vector * apart + entry * along, mask=valid, other=0.0)
            x = tl.abs(w.to(tl.float32)).to(tl.float64)
            energy += x * x
            size += x
        places = begin + tl.arange(0, V)
        tl.store(energies + places, tl.sum(energy, 1), mask=places < vectors)
        tl.store(sizes + places, tl.sum(size, 1), mask=places < vectors)


@triton.jit
def _vectors_kernel(
    flat_ptr,  # [N, P]
    layers_ptr,  # [G]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    out_ptr,  # [N, L, 70]
    sums_ptr,  # [N, L, 2]
    row_stride,
    layers,
    W: tl.constexpr,
):
    adapter, layer = tl.program_id(0).to(tl.int64), tl.load(layers_ptr + tl.program_id(1))
    rows, cols = tl.load(rows_ptr + layer), tl.load(cols_ptr + layer)
    first = first_entry(flat_ptr, offsets_ptr, row_stride, layer)
    length, across = rows * cols, (rows > 1).to(tl.int32)
    begin, end = group_bounds(length)
    n, mean, m2, low, high = no_norms(tl.float32)
    energy, size = tl.zeros([GROUPS, W], tl.float64), tl.zeros([GROUPS, W], tl.float64)
    for start in range(0, tl.cdiv(length, GROUPS), W):
        place = begin + start + tl.arange(0, W)[None, :]
        w = tl.abs(tl.load(first + place, mask=place < end, other=0.0).to(tl.float32))
        n, mean, m2, low, high = join(n, mean, m2, low, high, w, place < end)
        x = w.to(tl.float64)
        energy += x * x
        size += x
    layer = adapter * layers + layer
    out, sums = out_ptr + layer * NORM_FIELDS, sums_ptr + layer * 2
    store_axis(out, 1 - across, length, n, mean, m2, low, high, energy)
    tl.store(sums + 1 - across, high)
    tl.store(sums + across, tl.sum(size))
    _store_whole(out, across, tl.sum(energy))


@triton.jit
def _store_whole(out, axis, energy):
    """Write the axis of which the whole matrix is the only vector."""
    norm = tl.sqrt(energy)
    group = tl.arange(0, GROUPS)[:, None]
    profile = tl.where(group == 0, energy, 0.0)
    store_axis(out, axis, 1, 1.0, norm, 0.0, norm, norm, profile)


def marginals(matrices: Factors) -> Marginals:
    """Describe the rows and columns of every layer, at most once a shard."""
    return matrices.shared.once("marginals", lambda: _marginals(matrices))


def _marginals(matrices: Factors) -> Marginals:
    flat, shape = matrices.flat, (len(matrices.flat), matrices.count)
    norms = torch.empty((*shape, FIELDS), dtype=torch.float32, device=flat.device)
    sums = torch.empty((*shape, 2), dtype=torch.float32, device=flat.device)
    for tile, layers in _groups(matrices.layout).items():
        if tile is None:
            _describe_vectors(matrices, layers, norms, sums)
            continue
        vectors = sum(sum(matrices.layout.shapes[layer]) for layer in layers)
        for adapters in runs(len(flat), 16 * vectors, flat.is_cuda):
            part = Factors(flat[adapters], matrices.layout)
            _describe_matrices(part, layers, tile, norms[adapters], sums[adapters])
    return Marginals(norms, sums)


def _groups(layout: Layout) -> dict[tuple[int, int] | None, list[int]]:
    """Find the layers that share a tile's sides; a row or column alone needs no tile."""
    found: dict[tuple[int, int] | None, list[int]] = {}
    for layer, (rows, cols) in enumerate(layout.shapes):
        short = min(16, triton.next_power_of_2(min(rows, cols)))
        tile = (short, TILE // short) if rows <= cols else (TILE // short, short)
        found.setdefault(None if short == 1 else tile, []).append(layer)
    return found


def _describe_vectors(
    matrices: Factors, layers: Sequence[int], norms: Tensor, sums: Tensor
) -> None:
    flat = matrices.flat
    places = torch.tensor(layers, dtype=torch.int32, device=flat.device)
    _vectors_kernel[(len(flat), len(layers))](
        flat,
        places,
        *table(matrices),
        norms,
        sums,
        flat.stride(0),
        norms.shape[1],
        W=W,
        num_warps=1,
    )


def _describe_matrices(
    matrices: Factors, layers: Sequence[int], tile: tuple[int, int], norms: Tensor, sums: Tensor
) -> None:
    flat, shapes = matrices.flat, [matrices.layout.shapes[layer] for layer in layers]
    places = axes(layers, shapes, flat.device)
    shape = (len(flat), places.width)
    energies, sizes = (
        torch.empty(shape, dtype=torch.float64, device=flat.device) for _ in range(2)
    )
    aligned = gcd(ALIGNMENT, *(cols for _, cols in shapes))
    _sums_kernel[(len(flat), len(layers))](
        flat,
        places.layers,
        *table(matrices),
        places.starts,
        energies,
        sizes,
        flat.stride(0),
        places.width,
        len(layers),
        ROWS=tile[0],
        COLS=tile[1],
        ALIGNED=aligned,
        num_warps=1,
    )
    describe(energies, places, norms, (sizes, sums))


_TABLE = {"layers_ptr": "*i32", **TABLE_TYPES}
_SUMS_TYPES = {
    "starts_ptr": "*i64",
    "energies_ptr": "*fp64",
    "sizes_ptr": "*fp64",
    "row_stride": "i32",
    "width": "i32",
    "groups": "i32",
}
_VECTORS_TYPES = {"out_ptr": "*fp32", "sums_ptr": "*fp32", **STRIDE_TYPES}
BUILDS = (
    *(
        Build(
            _sums_kernel,
            {"flat_ptr": pointer, **_TABLE, **_SUMS_TYPES},
            {"ROWS": rows, "COLS": TILE // rows, "ALIGNED": min(16, TILE // rows)},
            warps=1,
            registers=128,
            instructions=("LDG.E.128",),
        )
        for pointer, rows in (("*fp32", 2), ("*fp32", 16), ("*fp32", 128), ("*fp16", 4))
    ),
    *(
        Build(
            _vectors_kernel,
            {"flat_ptr": pointer, **_TABLE, **_VECTORS_TYPES},
            {"W": W},
            warps=1,
            registers=120,
        )
        for pointer in ("*fp32", "*fp16")
    ),
)
