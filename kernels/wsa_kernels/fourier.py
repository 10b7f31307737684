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
from wsa_kernels.matrices import Delta, Factors, Matrices, Tile
from wsa_kernels.operation import Operation
from wsa_kernels.reductions import average, centred, ratio, total

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
# Maps powers [B, 1 + K], radii [K] and the sizes of the bands to all but the leading ten.
Rest = Callable[[Tensor, Tensor, tuple[int, ...]], Tensor]


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


def _rest(power: Tensor, radii: Tensor, bands: tuple[int, ...]) -> Tensor:
    """Map [B, 1 + K] powers, zero frequency first, to all features but the leading ten, [B, 15].

    The last is the energy over all frequencies.
    """
    magnitude = power.sqrt()
    mean = average(magnitude)
    std = average((magnitude - mean.unsqueeze(-1)).square()).sqrt()
    energy, above = total(power), power[:, 1:]
    if not above.shape[-1]:
        nothing = torch.zeros_like(mean)
        return torch.stack([mean, std, magnitude[:, 0], *[nothing] * (BANDS + 2), energy], -1)
    floor = torch.maximum(FLOOR * above.amax(-1), ROUNDING * energy).unsqueeze(-1)
    above = above.masked_fill(above <= floor, 0.0)
    whole = total(above)
    shares = [ratio(total(band), whole) for band in torch.split(above, list(bands), -1)]
    centroid = ratio(total(above * radii), whole)
    scalars = [mean, std, magnitude[:, 0], *shares, centroid, _flatness(above), energy]
    return torch.stack(scalars, -1)


def _flatness(power: Tensor) -> Tensor:
    """Return geometric over arithmetic mean, [B, K] -> [B]; 0 where any power is 0."""
    nothing = (power == 0).any(-1)
    geometric = average(power.masked_fill(nothing.unsqueeze(-1), 1.0).log()).exp()
    return ratio(geometric, average(power)).masked_fill(nothing, 0.0)


def _leading(power: Tensor) -> Tensor:
    """Return the ten greatest of [B, K], greatest first, padded with 0, [B, 10]."""
    short = max(0, LEADING - power.shape[-1])
    power = torch.nn.functional.pad(power, (0, short))
    if power.is_cuda:
        return power.topk(LEADING).values
    # numpy selects six times as fast as torch.topk
    found = np.partition(power.numpy(), -LEADING, axis=-1)[:, -LEADING:]
    return torch.from_numpy(np.sort(found, axis=-1)).flip(-1)


def _describe(rest: Rest, spectra: Tensor, zero: Tensor, shape: tuple[int, int]) -> Tensor:
    """Map spectra to the 24 features; see `Describe`."""
    table = frequencies(*shape)
    power = spectra.real.square() + spectra.imag.square()
    power = power.index_select(-1, table.places.to(power.device))
    power = torch.cat([zero.unsqueeze(-1), power], -1)
    # a sum of one spectrum is a copy of it, one twentieth of the whole time
    power = power.sum(1) if power.shape[1] > 1 else power.squeeze(1)
    leading = _leading(power)
    found = rest(power, table.radii.to(power.device), table.bands)
    mean_std_dc, bands_to_flatness, energy = torch.split(found, [3, BANDS + 2, 1], -1)
    concentration = ratio(leading.sum(-1, keepdim=True), energy)
    return torch.cat([leading.sqrt(), mean_std_dc, concentration, bands_to_flatness], -1)


def _half_spectrum(signals: Tensor) -> Tensor:
    """Return the orthonormal real FFT of [B, ..., n] over all axes but the first."""
    axes = tuple(range(1, signals.ndim))
    if signals.is_cuda:
        spectra: Tensor = torch.fft.rfftn(signals, dim=axes, norm="ortho")
        return spectra
    # one transform after another: torch's batched ones round otherwise in another batch
    return torch.from_numpy(np.fft.rfftn(signals.numpy(), axes=axes, norm="ortho"))


def _centre(tile: Tile) -> tuple[Tensor, Tensor]:
    mean, entries, _ = centred(tile.values.double().flatten(0, 1).contiguous().flatten(1))
    return mean, entries


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
    mean, entries, _ = centred(signals.flatten(0, 1))
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


def fourier_reference(matrices: Matrices) -> Fourier:
    """Compute eagerly."""
    return _fourier(matrices, _centre, partial(_describe, _rest))


def fourier_compiled(matrices: Matrices) -> Fourier:
    """Compute with the library's FFT and compiled code for what follows it."""
    return _fourier(matrices, _centre, partial(_describe, compiled(_rest)))


def fourier_triton(matrices: Matrices) -> Fourier:
    """Compute on a GPU with the library's FFT, and fused code before and after it."""
    from wsa_kernels.fused.bands import centre, describe

    return _fourier(matrices, partial(centre, matrices), describe)


fourier = Operation("fourier", fourier_reference, fourier_compiled, fourier_triton)
