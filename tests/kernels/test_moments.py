from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from wsa_kernels.moments import Moments, moments

# one entry, one row, one column, below, at and above the longest plain sum (16,384 entries)
SHAPES = [(1, 1), (1, 7), (7, 1), (3, 63), (128, 128), (129, 130)]


def expected(entries: np.ndarray) -> list[np.ndarray]:
    w = entries.reshape(len(entries), -1).astype(np.float64)
    if w.shape[1] == 1:
        return [w[:, 0], *[np.zeros(len(w))] * 3]
    skewness, kurtosis = scipy.stats.skew(w, axis=1), scipy.stats.kurtosis(w, axis=1, fisher=False)
    return [w.mean(1), w.std(1, ddof=1), skewness, kurtosis]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moments_agree_with_scipy(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    w = random_matrices(6, *shape).exp().to(dtype)
    found = moments(pack_factors(w))
    for name, one, wanted in zip(Moments._fields, found, expected(w.double().numpy()), strict=True):
        agree(one[:, 0], wanted, 2e-5 if name in ("skewness", "kurtosis") else 1e-6)


def test_layers_of_unequal_shapes_keep_their_places(
    random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    layers = [random_matrices(3, *shape, seed=i) for i, shape in enumerate(SHAPES[::-1] * 2)]
    means = torch.stack([each.double().mean((1, 2)) for each in layers], 1)
    agree(moments(pack_factors(*layers)).mean, means, 1e-6)


@pytest.mark.parametrize(
    "change", [lambda w: w * 1e-12, lambda w: w + 1e4, lambda w: w * 1e12], ids=["-12", "+", "12"]
)
def test_shape_survives_tiny_huge_and_far_off_entries(
    change: Callable[[torch.Tensor], torch.Tensor],
    random_matrices: Any,
    pack_factors: Any,
    agree: Any,
) -> None:
    w = change(random_matrices(4, 3, 400).exp())
    found, wanted = moments(pack_factors(w)), expected(w.numpy())
    agree(found.skewness[:, 0], wanted[2], 2e-5)
    agree(found.kurtosis[:, 0], wanted[3], 2e-5)
    agree(found.std[:, 0], wanted[1], 1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_a_constant_layer_has_a_mean_and_nothing_else(value: float, pack_factors: Any) -> None:
    found = moments(pack_factors(torch.full((2, 7, 11), value)))
    assert torch.equal(found.mean, torch.full((2, 1), value))
    assert not any(each.any() for each in found[1:])


def test_the_mean_of_an_update_is_exact_where_its_products_cancel(
    random_matrices: Any, pack_delta: Any, agree: Any
) -> None:
    up, down = random_matrices(4, 90, 3, seed=1), random_matrices(4, 3, 70, seed=2)
    down[:, :, 35:] = -down[:, :, :35] * (1 + 1e-6)
    wanted = 0.5 * (up.double() @ down.double()).mean((1, 2), keepdim=True)[..., 0]
    found = moments(pack_delta((up, down), scale=torch.full((4, 1), 0.5)))
    agree(found.mean, wanted, 1e-6)


def test_higher_moments_of_an_update_agree_with_scipy(
    random_matrices: Any, pack_delta: Any, agree: Any
) -> None:
    up, down = random_matrices(4, 33, 2, seed=1), random_matrices(4, 2, 65, seed=2)
    found = moments(pack_delta((up, down)))
    wanted = expected((up.double() @ down.double()).numpy())
    agree(found.std[:, 0], wanted[1], 1e-6)
    agree(found.skewness[:, 0], wanted[2], 2e-5)
    agree(found.kurtosis[:, 0], wanted[3], 2e-5)
