"""Statistics: moments, extrema and the L1 norm of every layer, each weight read once.

One program describes one layer of one adapter, chunk by chunk (`power_sums.py`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.power_sums import chunk, merge, store_statistics
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
from wsa_kernels.fused.updates import update_statistics
from wsa_kernels.matrices import Delta, Factors, Matrices

FIELDS = 8
# The layers of the flagship have 320 to 1,280 entries: 512 leave fewest lanes idle in one warp.
BLOCK, LONG_BLOCK = 512, 2048
LONG = 2048


class Statistics(NamedTuple):
    """One number per layer of each adapter, each [N, L] float64."""

    mean: Tensor
    std: Tensor  # ddof 1
    skewness: Tensor
    kurtosis: Tensor
    minimum: Tensor
    maximum: Tensor
    l1: Tensor
    max_abs: Tensor


@triton.jit
def _statistics_kernel(
    flat_ptr,  # [N, P]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    out_ptr,  # [N, L, 8] float64
    row_stride,
    layers,
    BLOCK: tl.constexpr,
):
    adapter = tl.program_id(0).to(tl.int64)  # N * P outgrows int32
    layer = tl.program_id(1)
    size = size_of(rows_ptr, cols_ptr, layer)
    places_taken = padded(size)
    first = first_entry(flat_ptr, offsets_ptr, row_stride, layer)
    zero = tl.full([], 0.0, tl.float64)
    mean, m2, m3, m4, l1 = zero, zero, zero, zero, zero
    n = tl.full([], 0.0, tl.float32)
    low = tl.full([], float("inf"), tl.float32)
    high = tl.full([], float("-inf"), tl.float32)
    for begin in range(0, places_taken, BLOCK):
        places = begin + tl.arange(0, BLOCK)
        w = tl.load(first + places, mask=places < places_taken, other=0.0).to(tl.float32)
        w = tl.where(places < size, w, 0.0)
        count = tl.minimum(size - begin, BLOCK).to(tl.float32)
        part_mean, p2, p3, p4, part_low, part_high = chunk(w, places < size, count)
        n, mean, m2, m3, m4 = merge(n, mean, m2, m3, m4, count, part_mean, p2, p3, p4)
        low, high = tl.minimum(low, part_low), tl.maximum(high, part_high)
        l1 += tl.sum(tl.abs(w)).to(tl.float64)
    out = out_ptr + (adapter * layers + layer) * 8
    store_statistics(out, n, mean, m2, m3, m4, low, high, l1)


def statistics(matrices: Matrices) -> Statistics:
    """Describe every layer in one launch, at most once a shard."""
    if isinstance(matrices, Delta):
        return Statistics(*update_statistics(matrices)[:FIELDS])
    return matrices.shared.once("statistics", lambda: _launch(matrices))


def _launch(matrices: Factors) -> Statistics:
    flat, layers = matrices.flat, table(matrices)
    block = BLOCK if longest(matrices.layout) <= LONG else LONG_BLOCK
    out = torch.empty((len(flat), matrices.count, FIELDS), dtype=torch.float64, device=flat.device)
    _statistics_kernel[(len(flat), matrices.count)](
        flat, *layers, out, flat.stride(0), matrices.count, BLOCK=block, num_warps=block // BLOCK
    )
    return Statistics(*out.unbind(-1))


_TYPES = {
    **TABLE_TYPES,
    "out_ptr": "*fp64",
    **STRIDE_TYPES,
}
BUILDS = tuple(
    Build(
        _statistics_kernel,
        {"flat_ptr": pointer, **_TYPES},
        {"BLOCK": block},
        warps=block // BLOCK,
        registers=80,
        instructions=("LDG.E.128",),
    )
    for pointer in POINTERS.values()
    for block in (BLOCK, LONG_BLOCK)
)
