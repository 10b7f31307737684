from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from wsa_kernels.fused.statistics import statistics
from wsa_kernels.moments import moments


@pytest.mark.parametrize(
    "change", [lambda w: w * 1e-12, lambda w: w + 1e4, lambda w: w * 1e12], ids=["-12", "+", "12"]
)
def test_shape_survives_tiny_huge_and_far_off_entries(
    change: Callable[[Tensor], Tensor],
    random_matrices: Any,
    pack_factors: Any,
    place: Any,
    agree: Any,
) -> None:
    w = change(random_matrices(2, 3, 400).exp())
    found, wanted = statistics(place(pack_factors(w))), moments(pack_factors(w.double()))
    agree(found.skewness.cpu(), wanted.skewness, 2e-5)
    agree(found.kurtosis.cpu(), wanted.kurtosis, 2e-5)
    agree(found.std.cpu(), wanted.std, 1e-6)


def test_l1_is_the_sum_of_sizes(
    random_matrices: Any, pack_factors: Any, place: Any, agree: Any
) -> None:
    w = random_matrices(2, 7, 300)
    found = statistics(place(pack_factors(w))).l1[:, 0].cpu()
    agree(found, w.double().abs().sum((1, 2)), 1e-6)


def test_moments_and_extrema_share_one_launch(
    random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    matrices = place(pack_factors(random_matrices(2, 7, 30)))
    assert statistics(matrices) is statistics(matrices)
    assert torch.equal(moments(matrices, "triton").mean, statistics(matrices).mean.float())
