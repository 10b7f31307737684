"""Bins: every field of `Histogram` in one launch over all layers of all adapters."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.constants import PLACED_FIELDS, Z_BINS
from wsa_kernels.fused.placing import place, store_placed
from wsa_kernels.fused.statistics import Statistics, statistics
from wsa_kernels.fused.table import (
    POINTERS,
    STRIDE_TYPES,
    TABLE_TYPES,
    Build,
    first_entry,
    longest,
    padded,
    size_of,
    table,
)
from wsa_kernels.fused.update_bins import update_bins
from wsa_kernels.histogram import WIDTHS, normal_shares
from wsa_kernels.layerwise import split
from wsa_kernels.matrices import Delta, Factors, Matrices

# 8 entries a lane: with 16 a program of one warp has 145 registers in use instead of 87 (sm_90),
# with 32 it spills; of the longer blocks 1,024 spills one register on triton 3.6.
BLOCK, LONG_BLOCK = 256, 2048
LONG = 2048


@triton.jit
def count(first, size, mean, std, low, high, BLOCK: tl.constexpr):
    """Place every entry of a layer; return what `place` adds up."""
    places_taken = padded(size)
    z, ranges = tl.zeros([Z_BINS], tl.int32), tl.zeros([Z_BINS], tl.int32)
    near_zero, away = tl.full([], 0, tl.int32), tl.full([], 0.0, tl.float64)
    for begin in range(0, places_taken, BLOCK):
        places = begin + tl.arange(0, BLOCK)
        w = tl.load(first + places, mask=places < places_taken, other=0.0)
        w = tl.where(places < size, w, 0.0)
        z, ranges, near_zero, away = place(
            w, places < size, mean, std, low, high, z, ranges, near_zero, away
        )
    # a constant layer has nothing to count
    there = (low < high).to(tl.int32)
    return z * there, ranges * there, near_zero, away


@triton.jit
def _bins_kernel(
    flat_ptr,  # [N, P]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    bounds_ptr,  # [N, L, 4] float64: mean, std, least, greatest
    normal_ptr,  # [64] float64: logarithms of the normal's shares
    out_ptr,  # [N, L, 71]
    row_stride,
    layers,
    BLOCK: tl.constexpr,
):
    adapter = tl.program_id(0).to(tl.int64)  # N * P outgrows int32
    layer = tl.program_id(1)
    size = size_of(rows_ptr, cols_ptr, layer)
    first = first_entry(flat_ptr, offsets_ptr, row_stride, layer)
    bounds = bounds_ptr + (adapter * layers + layer) * 4
    mean, std = tl.load(bounds), tl.load(bounds + 1)
    low, high = tl.load(bounds + 2), tl.load(bounds + 3)
    z, ranges, near_zero, away = count(first, size, mean, std, low, high, BLOCK)
    out = out_ptr + (adapter * layers + layer) * PLACED_FIELDS
    store_placed(out, normal_ptr, size.to(tl.float64), z, ranges, near_zero, away)


def bins(matrices: Matrices) -> list[Tensor]:
    """Return the fields of `Histogram`, each [N, L] or [N, L, 64] float32."""
    bounds = _bounds(statistics(matrices))
    normal = matrices.shared.once("normal", lambda: normal_shares().log().to(bounds.device))
    if isinstance(matrices, Delta):
        found = update_bins(matrices, bounds, normal)
    else:
        found = _stored_bins(matrices, bounds, normal)
    return split(found, WIDTHS)


def _stored_bins(matrices: Factors, bounds: Tensor, normal: Tensor) -> Tensor:
    flat, layers = matrices.flat, table(matrices)
    block = BLOCK if longest(matrices.layout) <= LONG else LONG_BLOCK
    out = torch.empty((*bounds.shape[:2], sum(WIDTHS)), dtype=torch.float32, device=flat.device)
    _bins_kernel[(len(flat), matrices.count)](
        *(flat, *layers, bounds, normal, out, flat.stride(0), matrices.count),
        BLOCK=block,
        num_warps=block // BLOCK,
    )
    return out


def _bounds(found: Statistics) -> Tensor:
    """Return what entries are placed by, [N, L, 4]."""
    return torch.stack([found.mean, found.std, found.minimum, found.maximum], -1)


_TYPES = {
    **TABLE_TYPES,
    "bounds_ptr": "*fp64",
    "normal_ptr": "*fp64",
    "out_ptr": "*fp32",
    **STRIDE_TYPES,
}
BUILDS = tuple(
    Build(
        _bins_kernel,
        {"flat_ptr": pointer, **_TYPES},
        {"BLOCK": block},
        warps=block // BLOCK,
        registers=112,
        instructions=("LDG.E.128",),
    )
    for pointer in POINTERS.values()
    for block in (BLOCK, LONG_BLOCK)
)
