"""Bands: all features of `Fourier` from half spectra, after the library's FFT.

One kernel turns complex values into powers, in the order of their bands; one describes each row of
powers. The ten greatest are found by value, so that ties need no order among themselves:
`torch.topk` selects two bits of a float64 at a time, 32 passes, where this takes ten.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fourier import FEATURES, frequencies
from wsa_kernels.fused.constants import BANDS, FLOOR, FREQUENCY_FIELDS, PEAKS, ROUNDING
from wsa_kernels.fused.power_sums import ratio
from wsa_kernels.fused.statistics import statistics
from wsa_kernels.fused.table import Build
from wsa_kernels.matrices import Matrices, Tile

# 8 powers a lane: 66 registers (sm_90) in one warp, 80 in eight; four warps spill three.
BLOCK, LONG_BLOCK = 256, 2048
LONG = 2048


class Places(NamedTuple):
    """The zero frequency and the K others of a shape, by rising band, on a device."""

    places: Tensor  # [1 + K] int32, in the flattened half spectrum
    radii: Tensor  # [1 + K] float64
    starts: Tensor  # [9] int32: where each band begins, and the last ends


@triton.jit
def _power_kernel(
    spectra_ptr,  # [B, A, H, 2] float64
    zero_ptr,  # [B, A] float64
    places_ptr,  # [1 + K]
    power_ptr,  # [B, 1 + K] float64
    axes,
    half,
    count,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(places_ptr + k, mask=k < count, other=0)
    power = tl.zeros([BLOCK], tl.float64)
    for axis in range(0, axes):
        value = spectra_ptr + ((row * axes + axis) * half + place) * 2
        re = tl.load(value, mask=k < count, other=0.0)
        im = tl.load(value + 1, mask=k < count, other=0.0)
        zero = tl.load(zero_ptr + row * axes + axis)
        power += tl.where(k == 0, zero, re * re + im * im)
    tl.store(power_ptr + row * count + k, power, mask=k < count)


@triton.jit
def spread(first, count, BLOCK: tl.constexpr):
    """Return energy, mean and deviation (ddof 0) of the magnitudes, the greatest power but dc."""
    energy, total = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
    squares, greatest = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
    for begin in range(0, count, BLOCK):
        k = begin + tl.arange(0, BLOCK)
        power = tl.load(first + k, mask=k < count, other=0.0)
        energy += tl.sum(power)
        total += tl.sum(tl.sqrt(power))
        greatest = tl.maximum(greatest, tl.max(tl.where(k > 0, power, 0.0)))
    mean = total / count
    for begin in range(0, count, BLOCK):
        k = begin + tl.arange(0, BLOCK)
        off = tl.sqrt(tl.load(first + k, mask=k < count, other=0.0)) - mean
        squares += tl.sum(tl.where(k < count, off * off, 0.0))
    return energy, mean, tl.sqrt(squares / count), greatest


@triton.jit
def leading(first, count, BLOCK: tl.constexpr):
    """Return the ten greatest powers in [16], greatest first; a round finds all of one value."""
    ranks = tl.arange(0, 16)
    found = tl.zeros([16], tl.float64)
    bound = tl.full([], float("inf"), tl.float64)
    taken = tl.full([], 0, tl.int32)
    while taken < PEAKS:
        best, times = tl.full([], -1.0, tl.float64), tl.full([], 0, tl.int32)
        for begin in range(0, count, BLOCK):
            k = begin + tl.arange(0, BLOCK)
            power = tl.load(first + k, mask=k < count, other=-1.0)
            power = tl.where(power < bound, power, -1.0)
            most = tl.max(power)
            times = tl.where(most > best, 0, times)
            best = tl.maximum(best, most)
            times += tl.sum((power == best).to(tl.int32))
        # where none is left -1 is found, more often than there are lanes
        found = tl.where((ranks >= taken) & (ranks < taken + times), tl.maximum(best, 0.0), found)
        taken += times
        bound = best
    return tl.where(ranks < PEAKS, found, 0.0)


@triton.jit
def band(first, radii_ptr, begin, end, floor, BLOCK: tl.constexpr):
    """Sum the powers of a band above a floor, by radius too, and logarithms; count the others."""
    whole, weighted = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
    logs, nothing = tl.full([], 0.0, tl.float64), tl.full([], 0, tl.int32)
    for start in range(begin, end, BLOCK):
        k = start + tl.arange(0, BLOCK)
        power = tl.load(first + k, mask=k < end, other=0.0)
        above = power > floor
        power = tl.where(above, power, 0.0)
        whole += tl.sum(power)
        weighted += tl.sum(power * tl.load(radii_ptr + k, mask=k < end, other=0.0))
        logs += tl.sum(tl.log(tl.where(above, power, 1.0)))
        nothing += tl.sum(((k < end) & ~above).to(tl.int32))
    return whole, weighted, logs, nothing


@triton.jit
def store_bands(out, first, radii_ptr, starts_ptr, count, floor, BLOCK: tl.constexpr):
    """Write the shares of the eight bands, the centroid and the flatness."""
    each = tl.arange(0, BANDS)
    shares = tl.zeros([BANDS], tl.float64)
    weighted, logs = tl.full([], 0.0, tl.float64), tl.full([], 0.0, tl.float64)
    nothing = tl.full([], 0, tl.int32)
    for i in range(BANDS):
        begin, end = tl.load(starts_ptr + i), tl.load(starts_ptr + i + 1)
        part, part_weighted, part_logs, empty = band(first, radii_ptr, begin, end, floor, BLOCK)
        shares = tl.where(each == i, part, shares)
        weighted += part_weighted
        logs += part_logs
        nothing += empty
    whole = tl.sum(shares)
    above = tl.maximum(count - 1, 1)
    flatness = ratio(tl.exp(logs / above), whole / above)
    tl.store(out + each, ratio(shares, whole))
    tl.store(out + BANDS, ratio(weighted, whole))
    tl.store(out + BANDS + 1, tl.where(nothing > 0, 0.0, flatness))


@triton.jit
def _bands_kernel(
    power_ptr,  # [B, 1 + K] float64
    radii_ptr,  # [1 + K] float64
    starts_ptr,  # [9]
    out_ptr,  # [B, 24]
    count,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    first, out = power_ptr + row * count, out_ptr + row * FREQUENCY_FIELDS
    energy, mean, deviation, greatest = spread(first, count, BLOCK)
    ten = leading(first, count, BLOCK)
    ranks = tl.arange(0, 16)
    tl.store(out + ranks, tl.sqrt(ten), mask=ranks < PEAKS)
    tl.store(out + PEAKS, mean)
    tl.store(out + PEAKS + 1, deviation)
    tl.store(out + PEAKS + 2, tl.sqrt(tl.load(first)))
    tl.store(out + PEAKS + 3, ratio(tl.sum(ten), energy))
    floor = tl.maximum(greatest * FLOOR, energy * ROUNDING)
    # a band of the flagship has 20 to 80 frequencies, and a logarithm 40 instructions
    store_bands(out + PEAKS + 4, first, radii_ptr, starts_ptr, count, floor, BLOCK // 4)


def centre(matrices: Matrices, tile: Tile) -> tuple[Tensor, Tensor]:
    """Return the means of a tile's layers, [B], and what is left of their entries, [B, n]."""
    mean = statistics(matrices).mean[tile.adapters][:, tile.layers]
    entries = tile.values.flatten(2) - mean.unsqueeze(-1)
    return mean.flatten(), entries.flatten(0, 1)


def describe(spectra: Tensor, zero: Tensor, shape: tuple[int, int]) -> Tensor:
    """Map half spectra, [B, A, H] complex128, and energies at zero, [B, A], to [B, 24] float32."""
    batch, axes, half = spectra.shape
    table = _table(*shape, spectra.device)
    count = len(table.places)
    block = BLOCK if count <= LONG else LONG_BLOCK
    power = torch.empty((batch, count), dtype=torch.float64, device=spectra.device)
    out = torch.empty((batch, FEATURES), dtype=torch.float32, device=spectra.device)
    values = torch.view_as_real(spectra.contiguous())
    _power_kernel[(batch, triton.cdiv(count, block))](
        *(values, zero.contiguous(), table.places, power, axes, half, count),
        BLOCK=block,
        num_warps=block // BLOCK,
    )
    _bands_kernel[(batch,)](
        power, table.radii, table.starts, out, count, BLOCK=block, num_warps=block // BLOCK
    )
    return out


@cache
def _table(rows: int, cols: int, device: torch.device) -> Places:
    found = frequencies(rows, cols)
    places = torch.cat([torch.zeros(1, dtype=torch.int64), found.places]).to(torch.int32)
    radii = torch.cat([torch.zeros(1, dtype=torch.float64), found.radii])
    starts = torch.tensor([1, *found.bands]).cumsum(0).to(torch.int32)
    return Places(places.to(device), radii.to(device), starts.to(device))


_POWER = {
    "spectra_ptr": "*fp64",
    "zero_ptr": "*fp64",
    "places_ptr": "*i32",
    "power_ptr": "*fp64",
    "axes": "i32",
    "half": "i32",
    "count": "i32",
}
_BANDS = {
    "power_ptr": "*fp64",
    "radii_ptr": "*fp64",
    "starts_ptr": "*i32",
    "out_ptr": "*fp32",
    "count": "i32",
}
BUILDS = tuple(
    Build(kernel, types, {"BLOCK": block}, warps=block // BLOCK, registers=128)
    for kernel, types in ((_power_kernel, _POWER), (_bands_kernel, _BANDS))
    for block in (BLOCK, LONG_BLOCK)
)
