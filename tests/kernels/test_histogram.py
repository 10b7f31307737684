from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from wsa_kernels.histogram import histogram

SHAPES = [(1, 2), (7, 1), (3, 63), (33, 40), (129, 130)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
EDGES = np.array([-np.inf, *np.linspace(-4, 4, 65)[1:-1], np.inf])


def standardised(w: torch.Tensor) -> np.ndarray:
    return np.asarray(scipy.stats.zscore(w.double().flatten(1).numpy(), axis=1, ddof=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_counts_are_exactly_those_of_numpy(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any
) -> None:
    w = (random_matrices(6, *shape) ** 3 + 0.1).to(dtype)
    found = histogram(pack_factors(w)).z[:, 0].double() * shape[0] * shape[1]
    for counts, z in zip(found.numpy(), standardised(w), strict=True):
        wanted = np.histogram(z, EDGES)[0]
        assert np.allclose(counts, wanted, atol=1e-3)


def test_an_entry_one_millionth_of_a_deviation_from_an_edge_is_on_its_side(
    pack_factors: Any,
) -> None:
    near = np.repeat(EDGES[1:-1], 4) + np.tile([-1e-6, 1e-6, -1e-6, 1e-6], 63)
    # as many entries about 0 as bring the variance to 1
    inner = np.sqrt((len(near) + 1199 - np.sum(near**2)) / 1200)
    z = np.concatenate([near, np.tile([inner, -inner], 600)])
    wanted = np.histogram(z, EDGES)[0]
    for w in (torch.from_numpy(5 + 0.01 * z), torch.from_numpy(z).float()):
        found = histogram(pack_factors(w.view(1, 1, -1))).z[0, 0] * len(z)
        assert np.allclose(found.numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_entropies_agree_with_scipy(
    shape: tuple[int, int], random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    w = random_matrices(6, *shape)
    found = histogram(pack_factors(w))
    plain = [np.histogram(each, 50)[0] for each in w.double().numpy()]
    bins = np.stack([np.histogram(z, EDGES)[0] for z in standardised(w)])
    normal = np.diff(scipy.stats.norm.cdf(EDGES))
    agree(found.entropy[:, 0], scipy.stats.entropy(plain, axis=1), 1e-6)
    agree(found.entropy_z[:, 0], scipy.stats.entropy(bins, axis=1), 1e-6)
    agree(found.kl_normal[:, 0], scipy.stats.entropy(bins, normal, axis=1), 1e-6)


def test_tails_and_zeros_are_counted(random_matrices: Any, pack_factors: Any, agree: Any) -> None:
    w = random_matrices(6, 30, 40) ** 5
    found, z = histogram(pack_factors(w)), np.abs(standardised(w))
    exact = w.double().flatten(1).numpy()
    small = np.abs(exact) < 1e-3 * exact.std(1, ddof=1, keepdims=True)
    agree(found.tail_2[:, 0], (z > 2).mean(1), 1e-7)
    agree(found.tail_3[:, 0], (z > 3).mean(1), 1e-7)
    agree(found.near_zero[:, 0], small.mean(1), 1e-7)
    assert small.any()
    distance = np.abs(exact - exact.mean(1, keepdims=True)).mean(1)
    agree(found.absolute_deviation[:, 0], distance, 1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_layer_has_nothing_to_count(value: float, pack_factors: Any) -> None:
    found = histogram(pack_factors(torch.full((2, 3, 50), value)))
    assert not any(each.any() for each in found)


def test_a_histogram_of_an_update_is_that_of_the_scaled_product(
    random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(5, 30, 3, seed=1), random_matrices(5, 3, 20, seed=2)
    found = histogram(pack_delta((up, down), scale=torch.full((5, 1), -2.0)))
    z = standardised(-2.0 * (up.double() @ down.double()))
    wanted = np.stack([np.histogram(each, EDGES)[0] for each in z]) / 600
    assert np.allclose(found.z[:, 0].numpy(), wanted, atol=1e-6)
