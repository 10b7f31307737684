"""Order: every field of `Quantiles` from entries in order, all layers in one launch.

The sort of a layer is the costly half. Gini's index and Vasicek's entropy need the whole order, so
that selecting some ranks (three passes of a radix select) would come on top of it, not in its
place; and of the order of |w| no sort is needed at all: it is two ordered runs of w, merged.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.constants import ORDER_FIELDS, QUANTILES
from wsa_kernels.fused.power_sums import ratio
from wsa_kernels.fused.sorting import Ordered, in_order
from wsa_kernels.fused.table import (
    POINTERS,
    STRIDE_TYPES,
    TABLE_TYPES,
    Build,
    first_entry,
    size_of,
)
from wsa_kernels.layerwise import Part
from wsa_kernels.matrices import Factors
from wsa_kernels.quantiles import THOUSANDTHS, WIDTHS

# 8 entries a lane: 80 registers on sm_90, 116 on sm_80, none spilled.
BLOCK, LONG_BLOCK = 256, 1024
LONG = 2048


@triton.jit
def quantile(first, size, thousandths):
    """Interpolate quantiles of a row in order; their places are found in integers."""
    # 1000 q + r: the place itself, in thousandths, would outgrow int32 at 2 million entries
    q, r = (size - 1) // 1000, (size - 1) % 1000 * thousandths
    place = q * thousandths + r // 1000
    low = tl.load(first + place).to(tl.float64)
    high = tl.load(first + tl.minimum(place + 1, size - 1)).to(tl.float64)
    return low + (high - low) * ((r % 1000).to(tl.float64) * 0.001)


@triton.jit
def at(values, index):
    """Return one of 16 quantiles."""
    return tl.sum(tl.where(tl.arange(0, 16) == index, values, 0.0))


@triton.jit
def store_octile_shape(out, values):
    """Write the interquartile range, Bowley's skewness and Moors' kurtosis."""
    e1, e2, e3 = at(values, 3), at(values, 4), at(values, 5)
    e5, e6, e7 = at(values, 7), at(values, 8), at(values, 9)
    tl.store(out, e6 - e2)
    tl.store(out + 1, ratio(e6 + e2 - 2 * at(values, 6), e6 - e2))
    tl.store(out + 2, ratio((e7 - e5) + (e3 - e1), e6 - e2))


@triton.jit
def less(first, size, bound):
    """Count the entries of a row in order that are less than each bound, by bisection."""
    step = 1
    while step * 2 <= size:
        step *= 2
    found = tl.zeros(bound.shape, tl.int32)
    while step > 0:
        last = found + step - 1
        w = tl.load(first + last, mask=last < size, other=float("inf")).to(tl.float32)
        found = tl.where(w < bound, last + 1, found)
        step //= 2
    return found


@triton.jit
def sums(first, size, m, BLOCK: tl.constexpr):
    """Sum w, |w| and |w| by its place among all sizes; count spacings and sum their logarithms.

    Before a w of at least 0 lie, in order of size, the entries from -w to it; before another the
    entries between it and -w: with b entries less than -w, i - b and b - 1 - i of them.
    """
    total, sizes = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
    placed, logs = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
    apart = tl.full([], 0, tl.int32)
    for begin in range(0, size, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        valid = i < size
        w = tl.load(first + i, mask=valid, other=0.0).to(tl.float32)
        b = less(first, size, -w)
        before = tl.where(w >= 0, i - b, b - 1 - i)
        exact = w.to(tl.float64)
        x = tl.abs(exact)
        total += tl.sum(exact)
        sizes += tl.sum(x)
        placed += tl.sum(x * (2 * before + 1 - size).to(tl.float64))
        high = tl.load(first + tl.minimum(i + m, size - 1), mask=valid, other=0.0).to(tl.float64)
        low = tl.load(first + tl.maximum(i - m, 0), mask=valid, other=0.0).to(tl.float64)
        spaced = high > low
        logs += tl.sum(tl.log(tl.where(spaced, high - low, 1.0)))
        apart += tl.sum(spaced.to(tl.int32))
    return total, sizes, placed, logs, apart


@triton.jit
def distance(first, i, size, j, median):
    """Return the distance from the median of the farther end of runs of j + 1 entries."""
    whole = i < size - j
    low = tl.load(first + i, mask=whole, other=0.0).to(tl.float64)
    high = tl.load(first + i + j, mask=whole, other=0.0).to(tl.float64)
    farther = tl.maximum(median - low, high - median)
    return tl.min(tl.where(whole, farther, float("inf")))


@triton.jit
def distances(first, size, mean, median, low, high, BLOCK: tl.constexpr):
    """Sum squared distances from the mean; find the median one from the median; sum what is inside.

    The j + 1 nearest entries are neighbours in order.
    """
    squares, inner = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
    inside = tl.full([], 0, tl.int32)
    near = tl.full([], float("inf"), tl.float64)
    far = tl.full([], float("inf"), tl.float64)
    for begin in range(0, size, BLOCK):
        i = begin + tl.arange(0, BLOCK)
        valid = i < size
        w = tl.load(first + i, mask=valid, other=0.0).to(tl.float64)
        away = tl.where(valid, w - mean, 0.0)
        squares += tl.sum(away * away)
        within = valid & (w >= low) & (w <= high)
        inner += tl.sum(tl.where(within, w, 0.0))
        inside += tl.sum(within.to(tl.int32))
        near = tl.minimum(near, distance(first, i, size, (size - 1) // 2, median))
        far = tl.minimum(far, distance(first, i, size, size // 2, median))
    return squares, (near + far) / 2, ratio(inner, inside.to(tl.float64))


@triton.jit
def differential(size, m, logs, apart, squares, constant):
    """Return Vasicek's entropy of (w - mu) / s; of fewer than three entries or one value: 0."""
    n = size.to(tl.float64)
    found = ratio(logs, apart.to(tl.float64)) + tl.log(n / (2 * tl.maximum(m, 1)).to(tl.float64))
    empty = constant | (size < 3)
    variance = tl.where(empty, 1.0, squares / tl.maximum(n - 1, 1.0))
    return tl.where(empty, 0.0, found - tl.log(variance) / 2)


@triton.jit
def store_order(out, first, size, values, BLOCK: tl.constexpr):
    """Write all fields that follow the quantiles."""
    n = size.to(tl.float64)
    m = tl.minimum((tl.sqrt(n) + 0.5).to(tl.int32), (size - 1) // 2)
    total, sizes, placed, logs, apart = sums(first, size, m, BLOCK)
    squares, deviation, trimmed = distances(
        first, size, total / n, at(values, 6), at(values, 2), at(values, 10), BLOCK
    )
    tl.store(out, deviation)
    tl.store(out + 1, trimmed)
    store_octile_shape(out + 2, values)
    tl.store(out + 5, ratio(placed, n * sizes))
    constant = tl.load(first) == tl.load(first + size - 1)
    tl.store(out + 6, differential(size, m, logs, apart, squares, constant))


@triton.jit
def _order_kernel(
    ordered_ptr,  # [N, P]
    offsets_ptr,  # [L]
    rows_ptr,  # [L]
    cols_ptr,  # [L]
    thousandths_ptr,  # [13]
    out_ptr,  # [N, L, 20]
    row_stride,
    layers,
    BLOCK: tl.constexpr,
):
    adapter = tl.program_id(0).to(tl.int64)  # N * P outgrows int32
    layer = tl.program_id(1)
    size = size_of(rows_ptr, cols_ptr, layer)
    first = first_entry(ordered_ptr, offsets_ptr, row_stride, layer)
    out = out_ptr + (adapter * layers + layer) * ORDER_FIELDS
    each = tl.arange(0, 16)
    thousandths = tl.load(thousandths_ptr + each, mask=each < QUANTILES, other=0)
    values = quantile(first, size, thousandths)
    tl.store(out + each, values, mask=each < QUANTILES)
    store_order(out + QUANTILES, first, size, values, BLOCK)


def stored_parts(matrices: Factors) -> Iterator[Part]:
    """Yield the fields of `Quantiles`, [n * G, 20] float32, of every layer once."""
    asked = torch.tensor(THOUSANDTHS, dtype=torch.int32, device=matrices.flat.device)
    for ordered in in_order(matrices):
        yield Part(ordered.adapters, ordered.layers, _launch(ordered, asked))


def _launch(ordered: Ordered, thousandths: Tensor) -> Tensor:
    rows, layers = ordered.rows, len(ordered.layers)
    block = BLOCK if ordered.longest <= LONG else LONG_BLOCK
    out = torch.empty((len(rows) * layers, sum(WIDTHS)), dtype=torch.float32, device=rows.device)
    _order_kernel[(len(rows), layers)](
        *(rows, *ordered.table, thousandths, out, rows.stride(0), layers),
        BLOCK=block,
        num_warps=block // BLOCK,
    )
    return out


_TYPES = {
    **TABLE_TYPES,
    "thousandths_ptr": "*i32",
    "out_ptr": "*fp32",
    **STRIDE_TYPES,
}
BUILDS = tuple(
    Build(
        _order_kernel,
        {"ordered_ptr": pointer, **_TYPES},
        {"BLOCK": block},
        warps=block // BLOCK,
        registers=128,
    )
    for pointer in POINTERS.values()
    for block in (BLOCK, LONG_BLOCK)
)
