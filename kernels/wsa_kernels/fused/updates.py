"""Updates: entry-wise description of scale * up @ down, formed tile by tile in registers.

One program describes one module of one adapter. It walks the update twice: by rows for everything
that row sums and single entries decide, then by columns for the column sums. No entry is written.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.power_sums import chunk, merge, store_statistics
from wsa_kernels.fused.table import TABLE_TYPES, Build, first_entry, modules, table
from wsa_kernels.matrices import Delta

FIELDS = 10
# 64 x 64 entries are 16 registers a thread in eight warps; in four the kernel took all 255
SIDE, WARPS = 64, 8
# tl.dot takes a rank of 16 or more; below it the sum of outer products wastes nothing
LEAST_DOT = tl.constexpr(16)


class UpdateStatistics(NamedTuple):
    """One number per module of each adapter, each [N, M] float64."""

    mean: Tensor
    std: Tensor  # ddof 1
    skewness: Tensor
    kurtosis: Tensor
    minimum: Tensor
    maximum: Tensor
    l1: Tensor
    max_abs: Tensor
    one: Tensor  # greatest column sum of |w|
    inf: Tensor  # greatest row sum of |w|


@triton.jit
def update_tile(up, down, rows, cols, out, into, rank, scale, RANK: tl.constexpr):
    """Return the entries [rows, cols] of an update in float32; those outside it are 0."""
    if RANK < LEAST_DOT:
        tile = tl.zeros([rows.shape[0], cols.shape[0]], tl.float32)
        for k in tl.static_range(RANK):
            b = tl.load(up + rows * rank + k, mask=(rows < out) & (k < rank), other=0.0)
            a = tl.load(down + k * into + cols, mask=(cols < into) & (k < rank), other=0.0)
            tile += b.to(tl.float32)[:, None] * a.to(tl.float32)[None, :]
    else:
        tile = tl.zeros([rows.shape[0], cols.shape[0]], tl.float32)
        # any rank in steps of 16: of 64 at once float32 spilled, and more than 128 did not fit
        for first in range(0, rank, RANK):
            k = first + tl.arange(0, RANK)
            up_mask = (rows < out)[:, None] & (k < rank)[None, :]
            down_mask = (k < rank)[:, None] & (cols < into)[None, :]
            b = tl.load(up + rows[:, None] * rank + k[None, :], mask=up_mask, other=0.0)
            a = tl.load(down + k[:, None] * into + cols[None, :], mask=down_mask, other=0.0)
            # the default for float32, tf32, is off by 3e-4; "ieee" spills to the stack
            tile = tl.dot(b, a, tile, input_precision="tf32x3")
    return tile * scale


@triton.jit
def factors_of(flat_ptr, offsets_ptr, rows_ptr, cols_ptr, ups_ptr, downs_ptr, row_stride, module):
    """Return where a module's factors begin in an adapter's row, and its three sizes."""
    up, down = tl.load(ups_ptr + module), tl.load(downs_ptr + module)
    first_up = first_entry(flat_ptr, offsets_ptr, row_stride, up)
    first_down = first_entry(flat_ptr, offsets_ptr, row_stride, down)
    out, into = tl.load(rows_ptr + up), tl.load(cols_ptr + down)
    return first_up, first_down, out, into, tl.load(cols_ptr + up)


@triton.jit
def _by_rows(up, down, out, into, rank, scale, RANK: tl.constexpr, SIDE: tl.constexpr):
    """Return count, power sums, extrema and L1 norm of an update, and its greatest row sum."""
    zero = tl.full([], 0.0, tl.float64)
    mean, m2, m3, m4, l1 = zero, zero, zero, zero, zero
    n, inf = tl.full([], 0.0, tl.float32), tl.full([], 0.0, tl.float32)
    low, high = tl.full([], float("inf"), tl.float32), tl.full([], float("-inf"), tl.float32)
    for top in range(0, out, SIDE):
        rows = top + tl.arange(0, SIDE)
        sizes = tl.zeros([SIDE, SIDE], tl.float32)
        for left in range(0, into, SIDE):
            cols = left + tl.arange(0, SIDE)
            tile = update_tile(up, down, rows, cols, out, into, rank, scale, RANK)
            count = (tl.minimum(out - top, SIDE) * tl.minimum(into - left, SIDE)).to(tl.float32)
            valid = (rows < out)[:, None] & (cols < into)[None, :]
            part_mean, p2, p3, p4, part_low, part_high = chunk(tile, valid, count)
            n, mean, m2, m3, m4 = merge(n, mean, m2, m3, m4, count, part_mean, p2, p3, p4)
            low, high = tl.minimum(low, part_low), tl.maximum(high, part_high)
            sizes += tl.abs(tile)
        sums = tl.sum(sizes, 1)
        l1 += tl.sum(sums).to(tl.float64)
        inf = tl.maximum(inf, tl.max(sums))
    return n, mean, m2, m3, m4, low, high, l1, inf


@triton.jit
def _by_columns(up, down, out, into, rank, scale, RANK: tl.constexpr, SIDE: tl.constexpr):
    """Return the greatest column sum of absolute entries."""
    one = tl.full([], 0.0, tl.float32)
    for left in range(0, into, SIDE):
        cols = left + tl.arange(0, SIDE)
        sizes = tl.zeros([SIDE, SIDE], tl.float32)
        for top in range(0, out, SIDE):
            rows = top + tl.arange(0, SIDE)
            sizes += tl.abs(update_tile(up, down, rows, cols, out, into, rank, scale, RANK))
        one = tl.maximum(one, tl.max(tl.sum(sizes, 0)))
    return one


@triton.jit
def _update_statistics_kernel(
    flat_ptr,  # [N, P]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    ups_ptr,  # [M]
    downs_ptr,  # [M]
    scale_ptr,  # [N, M] float32
    out_ptr,  # [N, M, 10] float64
    row_stride,
    module_count,
    RANK: tl.constexpr,
    SIDE: tl.constexpr,
):
    module = tl.program_id(1)
    place = tl.program_id(0).to(tl.int64) * module_count + module
    up, down, out, into, rank = factors_of(
        flat_ptr, offsets_ptr, rows_ptr, cols_ptr, ups_ptr, downs_ptr, row_stride, module
    )
    scale = tl.load(scale_ptr + place)
    n, mean, m2, m3, m4, low, high, l1, inf = _by_rows(up, down, out, into, rank, scale, RANK, SIDE)
    one = _by_columns(up, down, out, into, rank, scale, RANK, SIDE)
    found = out_ptr + place * 10
    store_statistics(found, n, mean, m2, m3, m4, low, high, l1)
    tl.store(found + 8, one.to(tl.float64))
    tl.store(found + 9, inf.to(tl.float64))


def update_statistics(matrices: Delta) -> UpdateStatistics:
    """Describe every update in one launch, at most once a shard."""
    return matrices.shared.once("statistics", lambda: _launch(matrices))


def ranks_at_once(matrices: Delta) -> int:
    """Return how many ranks a tile takes at once: all of a few, or 16 by 16."""
    shapes, pairs = matrices.layout.shapes, matrices.layout.pairs
    greatest = max((shapes[up][1] for up, _ in pairs), default=1)
    # one matrix instruction on zeros costs less than two outer products of 16-bit factors
    least = LEAST_DOT.value if greatest > 1 and matrices.flat.dtype != torch.float32 else 1
    return min(int(LEAST_DOT.value), max(least, int(triton.next_power_of_2(greatest))))


def _launch(matrices: Delta) -> UpdateStatistics:
    flat, count = matrices.flat, matrices.count
    out = torch.empty((len(flat), count, FIELDS), dtype=torch.float64, device=flat.device)
    _update_statistics_kernel[(len(flat), count)](
        flat,
        *table(matrices),
        *modules(matrices),
        matrices.scale.float().contiguous(),
        out,
        flat.stride(0),
        count,
        RANK=ranks_at_once(matrices),
        SIDE=SIDE,
        num_warps=WARPS,
    )
    return UpdateStatistics(*out.unbind(-1))


TYPES = {
    **TABLE_TYPES,
    "ups_ptr": "*i32",
    "downs_ptr": "*i32",
    "scale_ptr": "*fp32",
    "out_ptr": "*fp64",
    "row_stride": "i32",
    "module_count": "i32",
}
BUILDS = tuple(
    Build(
        _update_statistics_kernel,
        {"flat_ptr": pointer, **TYPES},
        {"RANK": rank, "SIDE": SIDE},
        warps=WARPS,
        registers=255,
        instructions=("HGMMA",) if rank >= 16 and pointer != "*fp32" else (),
    )
    for pointer, rank in (
        ("*fp32", 1),
        ("*fp32", 8),
        ("*fp32", 16),
        ("*fp16", 1),
        ("*fp16", 16),
        ("*bf16", 16),
    )
)
