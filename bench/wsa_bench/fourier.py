"""Fourier: how every layer's energy spreads over the frequencies of its FFT."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsa import Case
from wsa.case import Answer
from wsa_bench.contenders import Array, kernel_case
from wsa_bench.populations import per_stored
from wsa_kernels.fourier import BANDS, FEATURES, LEADING, fourier

NAMES = ("top", "mean", "std", "dc", "concentration", "band", "centroid", "flatness")
LENGTHS = (LEADING, 1, 1, 1, 1, BANDS, 1, 1)


class Frequencies(NamedTuple):
    """The frequencies of a shape above zero, by rising band; one of each conjugate pair."""

    places: NDArray[np.int64]  # [K], in the flattened half spectrum
    radii: NDArray[np.float64]  # [K], cycles per sample
    bands: NDArray[np.int64]  # how many lie in each band


@cache
def frequencies(rows: int, cols: int) -> Frequencies:
    """List a shape's frequencies anew: the kernels' own table must not judge the kernels."""
    i, j = (each.ravel() for each in np.indices((rows, cols // 2 + 1)))
    # its own conjugate's column holds both of a pair: the one of fewer rows is taken
    paired = (j == 0) | (2 * j == cols)
    (places,) = np.nonzero(~(paired & (2 * i > rows)) & ((i > 0) | (j > 0)))
    i, j = np.minimum(i, rows - i)[places], j[places]
    squares = (i * cols) ** 2 + (j * rows) ** 2  # of radius * rows * cols, exact
    edges = np.arange(1, BANDS)[:, None] ** 2 * squares.max(initial=0)
    band = (BANDS**2 * squares >= edges).sum(0)
    order = np.argsort(band, kind="stable")
    radii = np.sqrt(squares[order]) / (rows * cols)
    return Frequencies(places[order], radii, np.bincount(band, minlength=BANDS))


def answer(result: Any) -> Answer:
    """Cut the features of one or two spectra by name, each [N, L, spectra, ...]."""
    features = result.features.unflatten(-1, (-1, FEATURES))
    return dict(zip(NAMES, features.split(LENGTHS, -1), strict=True))


def by_axis(found: Mapping[str, Any]) -> dict[str, Any]:
    """Name the features of two spectra after their axes; array and tensor have it before last."""
    if found["top"].shape[-2] == 1:
        return {name: _squeezed(value[..., 0, :]) for name, value in found.items()}
    return {
        f"{axis}_{name}": _squeezed(value[..., place, :])
        for place, axis in enumerate(("out", "in"))
        for name, value in found.items()
    }


def _squeezed(values: Any) -> Any:
    return values[..., 0] if values.shape[-1] == 1 else values


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix by its 2-D spectrum; an update by the marginal one along each axis."""
    if rank is None:
        rows, cols = w.shape if min(w.shape) > 1 else (1, w.size)
        transform = np.fft.rfft2(w.reshape(rows, cols), norm="ortho")
        found = [of_powers(np.abs(transform.ravel()) ** 2, rows, cols)]
    else:
        along = [np.fft.rfft(w, axis=axis, norm="ortho") for axis in (0, 1)]
        powers = [np.sum(np.abs(each) ** 2, 1 - axis) for axis, each in enumerate(along)]
        found = [of_powers(each, 1, w.shape[axis]) for axis, each in enumerate(powers)]
    return {name: np.array([each[name] for each in found]) for name in NAMES}


def of_powers(power: Any, rows: int, cols: int) -> dict[str, Any]:
    """Describe the powers of a half spectrum, zero frequency first."""
    table = frequencies(rows, cols)
    above, radii = power[table.places], table.radii
    power = np.concatenate([power[:1], above])
    magnitude = np.sqrt(power)
    top, whole = np.sort(magnitude)[::-1][:LEADING], above.sum()
    bands = np.split(above, np.cumsum(table.bands)[:-1])
    return {
        "top": top,
        "mean": [magnitude.mean()],
        "std": [magnitude.std()],
        "dc": [magnitude[0]],
        "concentration": [np.sum(top**2) / power.sum()],
        "band": [band.sum() / whole for band in bands],
        "centroid": [above @ radii / whole],
        "flatness": [np.exp(np.log(above).mean()) / above.mean()],
    }


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters."""
    if rank is None:
        shape = tuple(w.shape[1:]) if min(w.shape[1:]) > 1 else (1, w[0].numel())
        transform = torch.fft.rfft2(w.reshape(-1, *shape), norm="ortho")
        found = [batched_powers(transform.abs().square().flatten(1), *shape)]
    else:
        along = [torch.fft.rfft(w, dim=axis, norm="ortho").abs().square() for axis in (1, 2)]
        sums = [each.sum(3 - axis) for axis, each in zip((1, 2), along, strict=True)]
        found = [batched_powers(each, 1, w.shape[axis + 1]) for axis, each in enumerate(sums)]
    return {name: torch.stack([each[name] for each in found], 1) for name in NAMES}


def batched_powers(power: Tensor, rows: int, cols: int) -> dict[str, Tensor]:
    """Describe the powers of each row's half spectrum, zero frequency first."""
    table = frequencies(rows, cols)
    above = power[:, torch.from_numpy(table.places).to(power.device)]
    power = torch.cat([power[:, :1], above], 1)
    magnitude = power.sqrt()
    top, whole = magnitude.topk(LEADING).values, above.sum(1, keepdim=True)
    bands = torch.split(above, table.bands.tolist(), 1)
    radii = torch.from_numpy(table.radii).to(above)
    return {
        "top": top,
        "mean": magnitude.mean(1, keepdim=True),
        "std": magnitude.std(1, correction=0, keepdim=True),
        "dc": magnitude[:, :1],
        "concentration": top.square().sum(1, keepdim=True) / power.sum(1, keepdim=True),
        "band": torch.stack([band.sum(1) for band in bands], 1) / whole,
        "centroid": (above * radii).sum(1, keepdim=True) / whole,
        "flatness": above.log().mean(1, keepdim=True).exp() / above.mean(1, keepdim=True),
    }


def cases() -> list[Case]:
    """Return the flagship's case."""
    # 5 n log2 n for a transform of n = 1,000 real entries, halved
    return [kernel_case(fourier, of_matrix, of_layer, {"": 1e-4}, per_stored(25), answer)]
