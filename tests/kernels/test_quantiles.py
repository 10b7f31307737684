from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from wsa_kernels.quantiles import PROBABILITIES, quantiles

SHAPES = [(1, 1), (1, 2), (1, 3), (2, 2), (7, 1), (3, 63), (33, 40), (129, 130)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_quantiles_are_those_of_numpy_to_one_unit_in_the_last_place(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any
) -> None:
    w = random_matrices(6, *shape).to(dtype)
    found = quantiles(pack_factors(w)).values[:, 0].numpy()
    wanted = np.quantile(w.double().flatten(1).numpy(), PROBABILITIES, axis=1).T
    unit = np.spacing(np.abs(wanted).max(1, keepdims=True).astype(found.dtype))
    assert np.all(np.abs(found - wanted) <= unit)


def test_float64_comes_out_as_float64(random_matrices: Any, pack_factors: Any, agree: Any) -> None:
    w = random_matrices(6, 33, 40).double() ** 3
    found = quantiles(pack_factors(w)).values[:, 0]
    assert found.dtype == torch.float64
    agree(found, np.quantile(w.flatten(1).numpy(), PROBABILITIES, axis=1).T, 1e-14)


def test_columns_are_picked_by_probability(random_matrices: Any, pack_factors: Any) -> None:
    w = random_matrices(4, 1, 101)
    found = quantiles(pack_factors(w)).at(0.99, 0.50)
    assert torch.equal(found[:, 0], w.flatten(1).sort(-1).values[:, [99, 50]])


@pytest.mark.parametrize("shape", SHAPES[3:], ids=str)
def test_spread_and_shape_agree_with_scipy(
    shape: tuple[int, int], random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    w = random_matrices(6, *shape) + 3
    exact, found = w.double().flatten(1).numpy(), quantiles(pack_factors(w))
    q = np.quantile(exact, np.arange(9) / 8, axis=1)
    agree(found.iqr[:, 0], scipy.stats.iqr(exact, axis=1), 1e-7)
    deviation = scipy.stats.median_abs_deviation(exact, axis=1)
    agree(found.median_deviation[:, 0], deviation, 1e-7)
    agree(found.bowley[:, 0], (q[6] + q[2] - 2 * q[4]) / (q[6] - q[2]), 1e-6)
    agree(found.moors[:, 0], (q[7] - q[5] + q[3] - q[1]) / (q[6] - q[2]), 1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 10, 101, 1000])
def test_median_deviation_is_exact_among_ties(size: int, pack_factors: Any) -> None:
    generator = torch.Generator().manual_seed(size)
    w = torch.randint(-3, 4, (20, 1, size), generator=generator).float()
    wanted = scipy.stats.median_abs_deviation(w.flatten(1).double().numpy(), axis=1)
    found = quantiles(pack_factors(w)).median_deviation[:, 0]
    assert np.array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("size", [1, 2, 3, 11, 640])
def test_a_trimmed_mean_keeps_the_quantiles_themselves(size: int, pack_factors: Any) -> None:
    generator = torch.Generator().manual_seed(size)
    w = torch.randint(-9, 10, (20, 1, size), generator=generator).float()
    exact = w.flatten(1).double().numpy()
    low, high = np.quantile(exact, [0.1, 0.9], axis=1, keepdims=True)
    inside = (exact >= low) & (exact <= high)
    wanted = (exact * inside).sum(1) / np.maximum(inside.sum(1), 1)
    found = quantiles(pack_factors(w)).trimmed_mean[:, 0]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6, atol=1e-6)


def test_gini_is_half_the_mean_difference_over_the_mean(
    random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    w = random_matrices(6, 9, 41)
    x = w.flatten(1).abs().double().numpy()
    difference = np.abs(x[:, :, None] - x[:, None]).mean((1, 2))
    agree(quantiles(pack_factors(w)).gini[:, 0], difference / (2 * x.mean(1)), 1e-6)


@pytest.mark.parametrize("size", [3, 4, 10, 200, 5000])
def test_differential_entropy_is_the_vasicek_estimate_of_scipy(
    size: int, random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    w = 1e-6 * random_matrices(6, 1, size) + 1e-5
    z = scipy.stats.zscore(w.flatten(1).double().numpy(), axis=1, ddof=1)
    m = min(round(math.sqrt(size)), (size - 1) // 2)
    wanted = scipy.stats.differential_entropy(z, window_length=m, axis=1, method="vasicek")
    agree(quantiles(pack_factors(w)).differential[:, 0], wanted, 1e-6)


def test_spacings_of_zero_are_left_out_of_the_differential_entropy(
    pack_factors: Any, agree: Any
) -> None:
    w = torch.tensor([0.0] * 60 + [1.0] * 40).view(1, 1, 100)
    # m = 10: entries 50..69 are within 10 places of the step, the other spacings are 0
    spacing = 1 / np.std([0.0] * 60 + [1.0] * 40, ddof=1)
    agree(quantiles(pack_factors(w)).differential[0], [math.log(100 / 20 * spacing)], 1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_constant_layer_has_its_value_for_quantiles_and_no_spread(
    value: float, pack_factors: Any, agree: Any
) -> None:
    found = quantiles(pack_factors(torch.full((2, 3, 50), value)))
    assert torch.equal(found.values, torch.full((2, 1, len(PROBABILITIES)), value))
    agree(found.trimmed_mean, np.full((2, 1), value), 1e-6)
    spread = (found.median_deviation, found.iqr, found.bowley, found.moors, found.differential)
    assert not any(each.any() for each in spread)
    assert found.gini.abs().max() < 1e-6


def test_quantiles_of_an_update_are_those_of_the_scaled_product(
    random_matrices: Any, pack_delta: Any, agree: Any
) -> None:
    up, down = random_matrices(5, 30, 3, seed=1), random_matrices(5, 3, 20, seed=2)
    found = quantiles(pack_delta((up, down), scale=torch.full((5, 1), -2.0)))
    product = -2.0 * (up.double() @ down.double()).flatten(1).numpy()
    agree(found.values[:, 0], np.quantile(product, PROBABILITIES, axis=1).T, 1e-6)
