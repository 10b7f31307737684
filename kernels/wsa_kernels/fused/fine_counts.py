"""Fine counts: how many entries of an update fall into each of many equal bins, never stored.

Order statistics of an update are read off its fine histogram: sorting 1.6 million entries that do
not exist would first have to write them. Entries beyond the range count in the outer bins.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fine_histogram import BINS, FineHistogram, fine_range
from wsa_kernels.fused.table import Build, modules, table
from wsa_kernels.fused.updates import (
    SIDE,
    TYPES,
    WARPS,
    factors_of,
    ranks_at_once,
    update_statistics,
    update_tile,
)
from wsa_kernels.matrices import Delta, runs

# 32,768 bins over less than this would outgrow float32
LEAST_SPREAD = tl.constexpr(1e-33)


@triton.jit
def _fine_counts_kernel(
    flat_ptr,  # [N, P]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    ups_ptr,  # [M]
    downs_ptr,  # [M]
    scale_ptr,  # [N, M] float32
    low_ptr,  # [N, M] float32
    high_ptr,  # [N, M] float32
    out_ptr,  # [N, M, BINS] int32, zero
    row_stride,
    module_count,
    RANK: tl.constexpr,
    SIDE: tl.constexpr,
    BINS: tl.constexpr,
):
    module = tl.program_id(1)
    place = tl.program_id(0).to(tl.int64) * module_count + module
    up, down, out, into, rank = factors_of(
        flat_ptr, offsets_ptr, rows_ptr, cols_ptr, ups_ptr, downs_ptr, row_stride, module
    )
    scale, low = tl.load(scale_ptr + place), tl.load(low_ptr + place)
    per_unit = BINS / tl.maximum(tl.load(high_ptr + place) - low, LEAST_SPREAD)
    for top in range(0, out, SIDE):
        rows = top + tl.arange(0, SIDE)
        for left in range(0, into, SIDE):
            cols = left + tl.arange(0, SIDE)
            tile = update_tile(up, down, rows, cols, out, into, rank, scale, RANK)
            valid = (rows < out)[:, None] & (cols < into)[None, :]
            bins = tl.clamp(tl.where(valid, tile - low, 0.0) * per_unit, 0.0, BINS - 1.0)
            tl.atomic_add(out_ptr + place * BINS + bins.to(tl.int32), 1, mask=valid, sem="relaxed")


def fine_histograms(matrices: Delta) -> Iterator[tuple[slice, Tensor, FineHistogram]]:
    """Yield adapters, modules [G] of one shape, and their histograms, [n * G] layers in each."""
    found = update_statistics(matrices)
    low, high = fine_range(found.minimum, found.maximum, found.mean, found.std)
    # counts are summarised in float64, a few times over: a sixteenth of a tile's bytes
    for adapters in runs(len(low), 16 * 4 * matrices.count * BINS, low.is_cuda):
        counts = _counts(matrices, adapters, low, high)
        fields = [counts, *(each[adapters].double() for each in (low, high, found.l1, found.std))]
        for each in matrices.layout.module_classes:
            some = torch.tensor(each.modules, device=low.device)
            yield adapters, some, FineHistogram(*(one[:, some].flatten(0, 1) for one in fields))


def _counts(matrices: Delta, adapters: slice, low: Tensor, high: Tensor) -> Tensor:
    """Count the entries of some adapters' updates, [n, M, BINS]."""
    flat = matrices.flat[adapters]
    ranges = (each[adapters].float().contiguous() for each in (matrices.scale, low, high))
    shape = (len(flat), matrices.count, BINS)
    counts = torch.zeros(shape, dtype=torch.int32, device=flat.device)
    _fine_counts_kernel[shape[:2]](
        flat,
        *table(matrices),
        *modules(matrices),
        *ranges,
        counts,
        flat.stride(0),
        matrices.count,
        RANK=ranks_at_once(matrices),
        SIDE=SIDE,
        BINS=BINS,
        num_warps=WARPS,
    )
    return counts


_TYPES = {**TYPES, "low_ptr": "*fp32", "high_ptr": "*fp32", "out_ptr": "*i32"}
BUILDS = tuple(
    Build(
        _fine_counts_kernel,
        {"flat_ptr": pointer, **_TYPES},
        {"RANK": rank, "SIDE": SIDE, "BINS": BINS},
        warps=WARPS,
        registers=255,
        instructions=("RED",),
    )
    for pointer, rank in (("*fp32", 1), ("*fp32", 8), ("*fp32", 16), ("*fp16", 16))
)
