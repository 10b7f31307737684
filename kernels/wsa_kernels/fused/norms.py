"""Norms: mean, spread, maximum and profile of the row and column norms of every layer.

The energies of all rows and columns come in a row of scratch memory. A tile [32, W] holds W
neighbours of each of the 32 groups of a profile; fewer than 32 vectors make a group each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.constants import GROUPS, NORM_FIELDS
from wsa_kernels.fused.power_sums import chunk, merge, ratio
from wsa_kernels.fused.table import Build
from wsa_kernels.row_col_norms import WIDTHS

FIELDS = sum(WIDTHS)
# 320 norms, the fewest of the flagship's long sides, are ten to a group
W = 8


class Axes(NamedTuple):
    """Where the rows (0) and columns (1) of some layers lie in a row of scratch memory."""

    layers: Tensor  # [G] int32
    lengths: Tensor  # [2, G] int32
    starts: Tensor  # [2, G] int64
    width: int


@triton.jit
def group_bounds(length):
    """Return where each of the 32 groups of an axis begins and ends, [32, 1]."""
    group = tl.arange(0, GROUPS)[:, None]
    few = length < GROUPS
    begin = tl.where(few, group, group * length // GROUPS)
    end = tl.where(few, tl.minimum(group + 1, length), (group + 1) * length // GROUPS)
    return begin, end


@triton.jit
def no_norms(dtype: tl.constexpr):
    """Return what is known of an axis before its first tile."""
    zero = tl.full([], 0.0, tl.float64)
    low, high = tl.full([], float("inf"), dtype), tl.full([], float("-inf"), dtype)
    return tl.full([], 0.0, tl.float32), zero, zero, low, high


@triton.jit
def join(n, mean, m2, low, high, norms, valid):
    """Add a tile of norms to an axis: their count, mean, squares about it, least and greatest."""
    count = tl.sum(valid.to(tl.float32))
    part_mean, p2, _p3, _p4, part_low, part_high = chunk(norms, valid, count)
    n, mean, m2, _m3, _m4 = merge(n, mean, m2, 0.0, 0.0, count, part_mean, p2, 0.0, 0.0)
    return n, mean, m2, tl.minimum(low, part_low), tl.maximum(high, part_high)


@triton.jit
def store_axis(out, axis, length, n, mean, m2, low, high, energy):
    """Write the statistics and the profile of the rows (0) or columns (1) of a layer."""
    # float32 division is not exact on a device: it could leave equal norms a spread
    constant = low == high
    deviation = tl.sqrt(m2 / tl.maximum(n - 1, 1.0).to(tl.float64))
    tl.store(out + 3 * axis, tl.where(constant, low.to(tl.float64), mean))
    tl.store(out + 3 * axis + 1, tl.where(constant, 0.0, deviation))
    tl.store(out + 3 * axis + 2, high)
    begin, end = group_bounds(length)
    # a group a lane: where the tile's sums lie each lane would take eight roots
    group = tl.arange(0, GROUPS)
    total = tl.gather(tl.sum(energy, 1), group, 0)
    width = tl.maximum(tl.sum(end - begin, 1), 0).to(tl.float64)
    tl.store(out + 6 + axis * GROUPS + group, tl.sqrt(ratio(total, width)))


@triton.jit
def _norms_kernel(
    energies_ptr,  # [N, V] float64
    sizes_ptr,  # [N, V] float64
    layers_ptr,  # [G]
    lengths_ptr,  # [2, G]
    starts_ptr,  # [2, G]
    out_ptr,  # [N, L, 70]
    sums_ptr,  # [N, L, 2]
    width,
    groups,
    layers,
    SUMS: tl.constexpr,
    W: tl.constexpr,
):
    adapter, place, axis = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths_ptr + axis * groups + place)
    first = adapter * width + tl.load(starts_ptr + axis * groups + place)
    begin, end = group_bounds(length)
    n, mean, m2, low, high = no_norms(tl.float64)
    profile = tl.zeros([GROUPS, W], tl.float64)
    for start in range(0, tl.cdiv(length, GROUPS), W):
        vector = begin + start + tl.arange(0, W)[None, :]
        valid = vector < end
        energy = tl.load(energies_ptr + first + vector, mask=valid, other=0.0)
        n, mean, m2, low, high = join(n, mean, m2, low, high, tl.sqrt(energy), valid)
        profile += energy
    layer = adapter * layers + tl.load(layers_ptr + place)
    store_axis(out_ptr + layer * NORM_FIELDS, axis, length, n, mean, m2, low, high, profile)
    if SUMS:
        tl.store(sums_ptr + layer * 2 + axis, _greatest(sizes_ptr + first, length))


@triton.jit
def _greatest(values, length):
    """Return the greatest of positive float64 values."""
    found = tl.zeros([256], tl.float64)
    for begin in range(0, length, 256):
        place = begin + tl.arange(0, 256)
        found = tl.maximum(found, tl.load(values + place, mask=place < length, other=0.0))
    return tl.max(found)


def axes(layers: Sequence[int], shapes: Sequence[tuple[int, int]], device: torch.device) -> Axes:
    """Place the rows, then the columns, of some layers side by side."""
    lengths = torch.tensor(shapes, dtype=torch.int32).T.contiguous()
    ends = lengths.flatten().cumsum(0)
    starts = ends.view(2, -1) - lengths
    numbers = torch.tensor(layers, dtype=torch.int32)
    return Axes(numbers.to(device), lengths.to(device), starts.to(device), int(ends[-1]))


def describe(
    energies: Tensor, places: Axes, out: Tensor, sized: tuple[Tensor, Tensor] | None = None
) -> None:
    """Write the fields [N, L, 70] of layers whose energies [N, V] are known.

    `sized` holds their sums of |w| [N, V] and a place for the greatest of each axis, [N, L, 2].
    """
    sizes, sums = sized or (energies, out)
    _norms_kernel[(len(energies), len(places.layers), 2)](
        energies,
        sizes,
        places.layers,
        places.lengths,
        places.starts,
        out,
        sums,
        places.width,
        len(places.layers),
        out.shape[1],
        SUMS=sized is not None,
        W=W,
        num_warps=1,
    )


_TYPES = {
    "energies_ptr": "*fp64",
    "sizes_ptr": "*fp64",
    "layers_ptr": "*i32",
    "lengths_ptr": "*i32",
    "starts_ptr": "*i64",
    "out_ptr": "*fp32",
    "sums_ptr": "*fp32",
    "width": "i32",
    "groups": "i32",
    "layers": "i32",
}
BUILDS = tuple(
    Build(_norms_kernel, _TYPES, {"SUMS": sums, "W": W}, warps=1, registers=144)
    for sums in (True, False)
)
