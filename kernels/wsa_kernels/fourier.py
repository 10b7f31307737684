"""Fourier: how a layer's energy spreads over the frequencies of its orthonormal 2-D FFT.

Each conjugate pair counts once. The mean is taken off before the transform and put back as
dc = |mean| sqrt(n), so that a constant layer has no other energy at all. An update, never formed,
has two marginal spectra instead: energies summed over the input axis, then over the output axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsa_kernels.compilation import compiled
from wsa_kernels.delta import factored
from wsa_kernels.layerwise import Part, gathered
from wsa_kernels.matrices import Delta, Factors, Matrices, Tile, working, working_dtype
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import average, centred, logarithm, ratio, total

LEADING = 10
BANDS = 8
FEATURES = LEADING + 4 + BANDS + 2
# Powers below count as 0: this part of the greatest, and what float64 leaves of the whole.
FLOOR, ROUNDING = 1e-12, 1e-24


# Maps half spectra of a shape, [B, A, H] complex, and their energies at zero, [B, A], both added
# up over A, to the 24 features, [B, 24].
Describe = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
# Maps a tile to its layers' means, [B], and what is left of their entries, [B, n], in float64.
Centre = Callable[[Tile], tuple[Tensor, Tensor]]


class Fourier(NamedTuple):
    """24 features of each of A spectra: A = 1 for a stored matrix, 2 (out, in) for an update."""

    features: Tensor  # [N, L, 24 * A]


class Frequencies(NamedTuple):
    """The K frequencies of a shape, but for zero, by rising band; one of each conjugate pair."""

    places: Tensor  # [K] int64, in the flattened half spectrum [rows, cols // 2 + 1]
    radii: Tensor  # [K] float64, cycles per sample
    bands: tuple[int, ...]  # how many lie in each band


@cache
def frequencies(rows: int, cols: int) -> Frequencies:
    """List a shape's frequencies; bands are found in integers, as diagonals lie on their edges."""
    i, j = (each.ravel() for each in np.mgrid[:rows, : cols // 2 + 1])
    once = (i <= rows // 2) | ((j > 0) & (2 * j < cols))
    once[0] = False
    squares = (np.minimum(i, rows - i) * cols) ** 2 + (j * rows) ** 2  # of radius * rows * cols
    greatest = max(1, int(squares[once].max(initial=0)))
    band = np.minimum(BANDS - 1, np.sqrt(BANDS**2 * squares // greatest).astype(np.int64))
    places = np.flatnonzero(once)
    places = places[np.argsort(band[places], kind="stable")]
    counts = np.bincount(band[places], minlength=BANDS)
    radii = torch.from_numpy(np.sqrt(squares[places]) / (rows * cols))
    return Frequencies(torch.from_numpy(places), radii, tuple(counts.tolist()))


class Powers(NamedTuple):
    """The energies of some spectra, those above zero as parts of the greatest of all.

    In parts float32 is enough; an energy itself may be 1e-52.
    """

    parts: Tensor  # [B, K], by rising band; in the dtype of what was transformed
    dc: Tensor  # [B] float64, the energy at zero
    greatest: Tensor  # [B] float64, 1 where all are 0

    @classmethod
    def of(cls, energies: Tensor, dc: Tensor, dtype: torch.dtype) -> Powers:
        """Scale energies [B, K] of the frequencies above zero."""
        greatest = torch.maximum(energies.amax(-1), dc) if energies.shape[-1] else dc
        greatest = greatest.masked_fill(greatest == 0, 1.0)
        parts = energies * greatest.reciprocal().unsqueeze(-1)
        return cls(parts.to(dtype), dc, greatest)


class Described(NamedTuple):
    """What needs a spectrum's magnitudes, and its parts above the floor."""

    scalars: Tensor  # [B, 5] float64: mean, std, dc, energy and flatness
    above: Tensor  # [B, K]


Rest = Callable[[Powers], Described]


def _rest(powers: Powers) -> Described:
    """Describe magnitudes, and what is left of the powers above the floor."""
    parts, dc, greatest = powers
    count, unit, zero = 1 + parts.shape[-1], greatest.sqrt(), (dc / greatest).sqrt()
    magnitude = parts.sqrt()
    mean = (total(magnitude) + zero) / count
    spread = magnitude - mean.to(parts.dtype).unsqueeze(-1)
    variance = (total(spread.square()) + (zero - mean).square()) / count
    energy = total(parts) + dc / greatest
    floor = torch.maximum(FLOOR * parts.amax(-1), ROUNDING * energy).to(parts.dtype)
    above = parts * parts.clone().gt_(floor.unsqueeze(-1))
    scalars = [mean * unit, variance.sqrt() * unit, zero * unit, energy * greatest]
    return Described(torch.stack([*scalars, _flatness(above).double()], -1), above)


def _flatness(power: Tensor) -> Tensor:
    """Return geometric over arithmetic mean, [B, K] -> [B]; 0 where any power is 0."""
    nothing = power.amin(-1) == 0
    logs = logarithm(power.clamp(min=torch.finfo(power.dtype).tiny))
    geometric = average(logs).masked_fill(nothing, -torch.inf).exp()
    return ratio(geometric, average(power))


def _leading(powers: Powers) -> Tensor:
    """Return the ten greatest energies, greatest first, padded with 0, [B, 10]."""
    energies = _greatest(powers.parts).double() * powers.greatest.unsqueeze(-1)
    energies = _greatest(torch.cat([energies, powers.dc.unsqueeze(-1)], -1))
    return torch.nn.functional.pad(energies, (0, LEADING - energies.shape[-1]))


def _greatest(values: Tensor) -> Tensor:
    """Return the ten greatest of each row, or all of them, greatest first."""
    count = min(LEADING, values.shape[-1])
    if values.is_cuda:
        return values.topk(count).values
    # numpy selects twice as fast as torch, and sorts 30 times as fast
    found = np.partition(values.numpy(), -count, axis=-1)[:, -count:]
    return torch.from_numpy(np.sort(found, axis=-1)).flip(-1)


def _describe(
    rest: Rest, dtype: torch.dtype, spectra: Tensor, zero: Tensor, shape: tuple[int, int]
) -> Tensor:
    """Map spectra to the 24 features; see `Describe`. Parts of their energies are of a dtype."""
    table = frequencies(*shape)
    powers = Powers.of(_energies(spectra, table, shape), zero.sum(1), dtype)
    if not powers.parts.shape[-1]:
        return _of_one_entry(powers.dc)
    leading = _leading(powers)
    scalars, above = rest(powers)
    mean_std_dc, energy, flatness = torch.split(scalars, [3, 1, 1], -1)
    whole, bands = total(above), torch.split(above, list(table.bands), -1)
    sums = [*(total(band) for band in bands), total(above * table.radii.to(above))]
    shares = ratio(torch.stack(sums, -1), whole.unsqueeze(-1)).double()
    concentration = ratio(leading.sum(-1, keepdim=True), energy)
    parts = [leading.sqrt(), mean_std_dc, concentration, shares, flatness]
    return torch.cat(parts, -1)


def _of_one_entry(dc: Tensor) -> Tensor:
    """Return the 24 features of a layer that has no frequency but zero."""
    features = dc.new_zeros(len(dc), FEATURES)
    for place in (0, LEADING, LEADING + 2):  # its magnitude is the first, the mean, and dc
        features[:, place] = dc.sqrt()
    features[:, LEADING + 3] = dc > 0
    return features


def _half_spectrum(signals: Tensor) -> Tensor:
    """Return the orthonormal real FFT of [B, ..., n] over all axes but the first."""
    axes = tuple(range(1, signals.ndim))
    if signals.is_cuda:
        spectra: Tensor = torch.fft.rfftn(signals, dim=axes, norm="ortho")
        return spectra
    # one transform after another: torch's batched ones round otherwise in another batch
    return torch.from_numpy(np.fft.rfftn(signals.numpy(), axes=axes, norm="ortho"))


def _energies(spectra: Tensor, table: Frequencies, shape: tuple[int, int]) -> Tensor:
    """Return the energies of [B, A, H] in the table's order, added up over A, [B, K]."""
    square = torch.view_as_real(spectra).square()
    power = square[..., 0] + square[..., 1]
    if shape[0] == 1:  # in order as they are; picking them out took a tenth of the whole time
        power = power[..., 1:]
    else:
        power = power.index_select(-1, table.places.to(power.device))
    return power.squeeze(1) if power.shape[1] == 1 else power.sum(1)


def _centre(tile: Tile) -> tuple[Tensor, Tensor]:
    return centred(working(tile.values).flatten(0, 1).contiguous().flatten(1))


def _factor_parts(matrices: Factors, centre: Centre, describe: Describe) -> Iterator[Part]:
    for tile in matrices.tiles():
        rows, cols = tile.values.shape[2:]
        # a column's spectrum is that of a row
        shape = (rows, cols) if min(rows, cols) > 1 else (1, rows * cols)
        mean, entries = centre(tile)
        signals = entries.view(-1, *shape) if shape[0] > 1 else entries
        spectra = _half_spectrum(signals).flatten(1).unsqueeze(1)
        zero = mean.square().unsqueeze(-1) * (rows * cols)
        yield Part(tile.adapters, tile.layers, describe(spectra, zero, shape))


def _marginal_features(signals: Tensor, describe: Describe) -> Tensor:
    """Map [B, R, n], whose energies add up over R, to [B, 24]."""
    count, rank, length = signals.shape
    mean, entries = centred(signals.flatten(0, 1))
    spectra = _half_spectrum(entries).view(count, rank, -1)
    zero = (mean.square() * length).view(count, rank)
    return describe(spectra, zero, (1, length))


def _delta_parts(matrices: Delta, describe: Describe) -> Iterator[Part]:
    for part in factored(matrices):
        axes = (part.left().mT.contiguous(), part.right())
        features = torch.cat([_marginal_features(each, describe) for each in axes], -1)
        yield Part(part.adapters, part.modules, features)


def _fourier(matrices: Matrices, centre: Centre, describe: Describe) -> Fourier:
    if isinstance(matrices, Delta):
        parts = _delta_parts(matrices, describe)
        return Fourier(*gathered(matrices, parts, (2 * FEATURES,)))
    return Fourier(*gathered(matrices, _factor_parts(matrices, centre, describe), (FEATURES,)))


def _by_library(matrices: Matrices, rest: Rest) -> Fourier:
    # an update's narrow factors are few, and its marginal spectra may be steep
    dtype = torch.float64 if isinstance(matrices, Delta) else working_dtype(matrices.flat)
    return _fourier(matrices, _centre, partial(_describe, rest, dtype))


def fourier_reference(matrices: Matrices) -> Fourier:
    """Compute eagerly."""
    return _by_library(matrices, _rest)


def fourier_compiled(matrices: Matrices) -> Fourier:
    """Compute with the library's FFT and compiled code for what follows it."""
    return _by_library(matrices, compiled(_rest, any_shape=True))


def fourier_triton(matrices: Matrices) -> Fourier:
    """Compute on a GPU with the library's FFT, and fused code before and after it."""
    from wsa_kernels.fused.bands import centre, describe

    return _fourier(matrices, partial(centre, matrices), describe)


fourier = Operation("fourier", fourier_reference, fourier_compiled, fourier_triton)
