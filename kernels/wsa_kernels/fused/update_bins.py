"""Update bins: every field of `Histogram` for updates, formed tile by tile in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.constants import PLACED_FIELDS, Z_BINS
from wsa_kernels.fused.placing import place, store_placed
from wsa_kernels.fused.table import Build, modules, table
from wsa_kernels.fused.updates import TYPES, factors_of, ranks_at_once, update_tile
from wsa_kernels.histogram import WIDTHS
from wsa_kernels.matrices import Delta

# placing an entry takes float64: 8 a thread, where 16 spilled to the stack at ranks 8 to 64
ROWS, COLS, WARPS = 64, 32, 8


@triton.jit
def _placed(
    up,
    down,
    out,
    into,
    rank,
    scale,
    mean,
    std,
    low,
    high,
    RANK: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Return the counts of an update's entries, as `place` adds them up."""
    z, ranges = tl.zeros([Z_BINS], tl.int32), tl.zeros([Z_BINS], tl.int32)
    near_zero, away = tl.full([], 0, tl.int32), tl.full([], 0.0, tl.float64)
    for top in range(0, out, ROWS):
        rows = top + tl.arange(0, ROWS)
        for left in range(0, into, COLS):
            cols = left + tl.arange(0, COLS)
            tile = update_tile(up, down, rows, cols, out, into, rank, scale, RANK)
            valid = (rows < out)[:, None] & (cols < into)[None, :]
            z, ranges, near_zero, away = place(
                tile, valid, mean, std, low, high, z, ranges, near_zero, away
            )
    return z, ranges, near_zero, away


@triton.jit
def _update_bins_kernel(
    flat_ptr,  # [N, P]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    ups_ptr,  # [M]
    downs_ptr,  # [M]
    scale_ptr,  # [N, M] float32
    bounds_ptr,  # [N, M, 4] float64: mean, std, least, greatest
    normal_ptr,  # [64] float64
    out_ptr,  # [N, M, 71] float32
    row_stride,
    module_count,
    RANK: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    module = tl.program_id(1)
    at = tl.program_id(0).to(tl.int64) * module_count + module
    up, down, out, into, rank = factors_of(
        flat_ptr, offsets_ptr, rows_ptr, cols_ptr, ups_ptr, downs_ptr, row_stride, module
    )
    scale, bounds = tl.load(scale_ptr + at), bounds_ptr + at * 4
    mean, std = tl.load(bounds), tl.load(bounds + 1)
    low, high = tl.load(bounds + 2), tl.load(bounds + 3)
    z, ranges, near_zero, away = _placed(
        up, down, out, into, rank, scale, mean, std, low, high, RANK, ROWS, COLS
    )
    n, counted = out.to(tl.float64) * into, (low < high).to(tl.int32)
    store_placed(
        out_ptr + at * PLACED_FIELDS, normal_ptr, n, z * counted, ranges * counted, near_zero, away
    )


def update_bins(matrices: Delta, bounds: Tensor, normal: Tensor) -> Tensor:
    """Return the fields of `Histogram` side by side, [N, M, 71], of updates never formed.

    `bounds` are mean, std, least and greatest entry, [N, M, 4] float64.
    """
    flat, count = matrices.flat, matrices.count
    out = torch.empty((len(flat), count, sum(WIDTHS)), dtype=torch.float32, device=flat.device)
    _update_bins_kernel[(len(flat), count)](
        flat,
        *table(matrices),
        *modules(matrices),
        matrices.scale.float().contiguous(),
        bounds,
        normal,
        out,
        flat.stride(0),
        count,
        RANK=ranks_at_once(matrices),
        ROWS=ROWS,
        COLS=COLS,
        num_warps=WARPS,
    )
    return out


_TYPES = {**TYPES, "bounds_ptr": "*fp64", "normal_ptr": "*fp64", "out_ptr": "*fp32"}
BUILDS = tuple(
    Build(
        _update_bins_kernel,
        {"flat_ptr": pointer, **_TYPES},
        {"RANK": rank, "ROWS": ROWS, "COLS": COLS},
        warps=WARPS,
        registers=255,
        instructions=("HGMMA",) if rank >= 16 and pointer != "*fp32" else (),
    )
    for pointer, rank in (("*fp32", 1), ("*fp32", 8), ("*fp32", 16), ("*fp16", 16), ("*bf16", 16))
)
