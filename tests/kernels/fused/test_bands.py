from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wsa_kernels.fourier import fourier
from wsa_kernels.matrices import Factors

# no frequency at all, fewer than ten, odd and even axes, and more than one block of them
SHAPES = [(1, 1), (1, 2), (2, 2), (30, 1), (7, 9), (8, 6), (1, 510), (1, 512), (36, 34), (40, 130)]


def test_every_feature_of_every_shape_agrees_with_the_reference(
    random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    packed = pack_factors(*(random_matrices(1, *shape) + 0.1 for shape in SHAPES))
    found = fourier(place(packed), "triton").features[0].cpu().numpy()
    wanted = fourier(Factors(packed.flat.double(), packed.layout)).features[0].numpy()
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_read_exactly(
    dtype: torch.dtype, random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    packed = pack_factors((random_matrices(2, 9, 8) + 3).to(dtype))
    found = fourier(place(packed), "triton").features.cpu().numpy()
    wanted = fourier(Factors(packed.flat.double(), packed.layout)).features.numpy()
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("size", [4, 16, 18, 20, 64])
def test_equal_magnitudes_all_lead(size: int, pack_factors: Any, place: Any) -> None:
    # an impulse has one magnitude at all frequencies
    impulse = torch.zeros(1, 1, size)
    impulse[..., 0] = 1
    found = fourier(place(pack_factors(impulse)), "triton").features[0, 0].cpu().numpy()
    count = min(10, size // 2 + 1)
    wanted = [size**-0.5] * count + [0.0] * (10 - count)
    np.testing.assert_allclose(found[:10], wanted, rtol=1e-6)
    assert found[13] == pytest.approx(count / (size // 2 + 1))
    assert found[23] == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_layer_has_energy_at_zero_only(
    value: float, pack_factors: Any, place: Any
) -> None:
    packed = pack_factors(torch.full((1, 5, 7), value), torch.full((1, 1, 30), value))
    found = fourier(place(packed), "triton").features[0].cpu()
    assert not found[:, 14:].any()
    assert not found[:, 1:10].any()
    assert torch.equal(found[:, 13] == 1, found[:, 12] > 0)


def test_the_marginal_spectra_of_an_update_agree_with_the_reference(
    random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    up, down = random_matrices(2, 30, 3, seed=1), random_matrices(2, 3, 21, seed=2) + 0.1
    packed = pack_delta((up, down), scale=torch.tensor([[0.5], [-2.0]]))
    found, wanted = fourier(place(packed), "triton"), fourier(packed, "reference")
    torch.testing.assert_close(found.features.cpu(), wanted.features, rtol=2e-6, atol=1e-7)


def test_a_mean_a_million_deviations_away_hides_no_frequency(
    random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    packed = pack_factors(4096 + (random_matrices(1, 1, 60) * 4).round() / 2048)
    found = fourier(place(packed), "triton").features.cpu().numpy()
    wanted = fourier(Factors(packed.flat.double(), packed.layout)).features.numpy()
    assert wanted[0, 0, 14:22].all()
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-7)
