from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from wsa_kernels.fourier import fourier

SHAPES = [(1, 1), (1, 2), (1, 21), (30, 1), (2, 2), (7, 9), (8, 6), (9, 8), (40, 40), (130, 129)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def expected(power: np.ndarray, squares: np.ndarray, size: int) -> np.ndarray:
    """Describe the powers at frequencies whose radius is root(squares) / size, zero included."""
    magnitude = np.sqrt(power)
    top = np.sort(np.append(magnitude, np.zeros(10)))[::-1][:10]
    dc = float(magnitude[squares == 0][0])
    above, squares = power[squares > 0], squares[squares > 0]
    bands = np.zeros(8)
    for energy, square in zip(above, squares, strict=True):
        bands[min(7, math.isqrt(64 * int(square) // int(squares.max())))] += energy
    total = max(above.sum(), 1e-300)
    flatness = np.exp(np.log(above).mean()) / above.mean() if len(above) else 0.0
    centroid = np.sum(np.sqrt(squares) / size * above) / total
    head = [*top, magnitude.mean(), magnitude.std(), dc, np.sum(top**2) / power.sum()]
    return np.array([*head, *bands / total, centroid, flatness])


def of_matrix(w: np.ndarray) -> np.ndarray:
    """Visit the full FFT and keep one of each conjugate pair."""
    rows, cols = w.shape
    i, j = np.mgrid[:rows, :cols].reshape(2, -1)
    once = i * cols + j <= (-i % rows) * cols + -j % cols
    power = (np.abs(np.fft.fft2(w, norm="ortho")) ** 2).ravel()
    squares = (np.minimum(i, rows - i) * cols) ** 2 + (np.minimum(j, cols - j) * rows) ** 2
    return expected(power[once], squares[once], rows * cols)


def of_axis(w: np.ndarray) -> np.ndarray:
    energy = np.sum(np.abs(np.fft.rfft(w, axis=0, norm="ortho")) ** 2, axis=1)
    return expected(energy, np.arange(len(energy)) ** 2, len(w))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_features_agree_with_the_full_transform(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any
) -> None:
    w = (random_matrices(3, *shape) + 0.1).to(dtype)
    found = fourier(pack_factors(w)).features[:, 0].double().numpy()
    wanted = np.stack([of_matrix(each) for each in w.double().numpy()])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (30, 21), (64, 33)], ids=str)
def test_marginal_spectra_of_an_update_are_those_of_the_product(
    shape: tuple[int, int], rank: int, random_matrices: Any, pack_delta: Any
) -> None:
    up = random_matrices(4, shape[0], rank, seed=1)
    down = random_matrices(4, rank, shape[1], seed=2) + 0.1
    scale = torch.tensor([[0.5], [1.0], [-2.0], [1e-3]])
    product = (scale.double()[..., None] * (up.double() @ down.double())).numpy()
    found = fourier(pack_delta((up, down), scale=scale)).features[:, 0].double().numpy()
    wanted = np.stack([np.concatenate([of_axis(each), of_axis(each.T)]) for each in product])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_layer_has_energy_at_zero_only(
    value: float, pack_factors: Any, pack_delta: Any
) -> None:
    update = pack_delta((torch.full((2, 30, 2), value), torch.ones(2, 2, 11)))
    for matrices in (pack_factors(torch.full((2, 30, 11), value)), update):
        found = fourier(matrices).features[:, 0].view(2, -1, 24)
        assert not found[..., 14:].any()
        assert not found[..., 1:10].any()
        assert torch.equal(found[..., 13] == 1, found[..., 12] > 0)


def test_a_wave_lies_in_the_band_of_its_frequency(pack_factors: Any) -> None:
    x = torch.arange(40.0)
    wave = 1 + torch.cos(2 * torch.pi * (5 * x[:, None] + 5 * x) / 40)
    features = fourier(pack_factors(wave[None])).features[0, 0]
    # radius root(2) / 8 of at most root(2) / 2: exactly the lower edge of the third band
    assert features[16] == pytest.approx(1)
    assert features[22] == pytest.approx(2**0.5 / 8)
    assert features[12] == pytest.approx(40)
    assert features[23] == 0
