"""Sorting: the entries of every layer in rising order, where kernels read them.

Layers of up to 8,192 entries are sorted in registers, one program a layer; longer ones by the
library. A radix select (three passes of 11, 11 and 10 bits) would find the quantiles alone and
leave the layer unsorted: Gini's index and Vasicek's entropy, which the same operation answers with,
need the whole order, so that it would come on top of the sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.table import (
    POINTERS,
    TABLE_TYPES,
    Build,
    Table,
    first_entry,
    longest,
    padded,
    size_of,
    table,
)
from wsa_kernels.matrices import Factors, runs

# A block of 16,384 spills registers; one of 8,192 has 128 in use and compiles in 4 s.
LONGEST = 8192
# One lane for each entry of the shortest block.
SHORTEST = 32
# 32 entries a lane take the fewest instructions: for 2,048 entries 16,900 in 2 warps, 19,500 in 4
# and 22,000 in 8 (sm_90), because fewer comparisons reach across lanes.
ENTRIES_PER_WARP = 1024


class Ordered(NamedTuple):
    """Layers of some adapters, each in rising order where the table says."""

    adapters: slice
    layers: Tensor  # [G] int64
    rows: Tensor  # [n, P]
    table: Table  # of these G layers
    longest: int


@triton.jit
def _sort_kernel(
    flat_ptr,  # [N, P]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    layers_ptr,  # [G]
    ordered_ptr,  # [N, P]
    row_stride,
    ordered_stride,
    BLOCK: tl.constexpr,
):
    layer = tl.load(layers_ptr + tl.program_id(1))
    size = size_of(rows_ptr, cols_ptr, layer)
    places_taken = padded(size)
    places = tl.arange(0, BLOCK)
    there = places < places_taken
    first = first_entry(flat_ptr, offsets_ptr, row_stride, layer)
    w = tl.load(first + places, mask=there, other=0.0)
    w = tl.sort(tl.where(places < size, w.to(tl.float32), float("inf")))
    ordered = first_entry(ordered_ptr, offsets_ptr, ordered_stride, layer)
    tl.store(ordered + places, w, mask=there)


def in_order(matrices: Factors) -> Iterator[Ordered]:
    """Yield every stored layer once, in order, in parts of bounded size."""
    flat = matrices.flat
    for adapters in runs(len(flat), flat[:1].nbytes, flat.is_cuda):
        yield _of_adapters(matrices, adapters)


def _of_adapters(matrices: Factors, adapters: slice) -> Ordered:
    flat, layers = matrices.flat[adapters], table(matrices)
    ordered = torch.empty((len(flat), matrices.layout.size), dtype=flat.dtype, device=flat.device)
    for block, some in _blocks(matrices).items():
        _sort_kernel[(len(flat), len(some))](
            *(flat, *layers, some, ordered, flat.stride(0), ordered.stride(0)),
            BLOCK=block,
            num_warps=_warps(block),
        )
    for shape_class in matrices.layout.classes:
        if shape_class.rows * shape_class.cols > LONGEST:
            entries = shape_class.view(flat).flatten(2)
            shape_class.view(ordered).flatten(2).copy_(entries.sort(-1).values)
    every = torch.arange(matrices.count, device=flat.device)
    return Ordered(adapters, every, ordered, layers, longest(matrices.layout))


def _blocks(matrices: Factors) -> dict[int, Tensor]:
    """Return the layers that are sorted in registers, [G] int32, by the block that holds them."""
    return matrices.shared.once("blocks", lambda: _find_blocks(matrices))


def _find_blocks(matrices: Factors) -> dict[int, Tensor]:
    layers: dict[int, list[int]] = {}
    for layer, (rows, cols) in enumerate(matrices.layout.shapes):
        if rows * cols <= LONGEST:
            block = max(SHORTEST, triton.next_power_of_2(rows * cols))
            layers.setdefault(block, []).append(layer)
    device = matrices.flat.device
    return {
        block: torch.tensor(some, dtype=torch.int32, device=device)
        for block, some in layers.items()
    }


def _warps(block: int) -> int:
    return max(1, block // ENTRIES_PER_WARP)


_TYPES = {
    **TABLE_TYPES,
    "layers_ptr": "*i32",
    "ordered_ptr": "*fp32",
    "row_stride": "i32",
    "ordered_stride": "i32",
}
BUILDS = tuple(
    Build(
        _sort_kernel,
        {"flat_ptr": pointer, **_TYPES, "ordered_ptr": pointer},
        {"BLOCK": block},
        warps=_warps(block),
        registers=registers,
        instructions=("LDG.E.128", "STG.E.128"),
    )
    for pointer, block, registers in (
        *((pointer, 512, 64) for pointer in POINTERS.values()),
        ("*fp32", LONGEST, 128),
    )
)
