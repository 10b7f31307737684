from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wsa_kernels.absolute_sums import absolute_sums


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 40), (200, 170)], ids=str)
def test_absolute_sums_agree_with_numpy(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    w = random_matrices(5, *shape).to(dtype)
    found = absolute_sums(pack_factors(w))
    exact = w.double().numpy()
    agree(found.l1[:, 0], np.abs(exact).sum((1, 2)), 1e-6)
    agree(found.one[:, 0], [np.linalg.norm(each, 1) for each in exact], 1e-6)
    agree(found.inf[:, 0], [np.linalg.norm(each, np.inf) for each in exact], 1e-6)


# of rank 1, of one block and of several
@pytest.mark.parametrize(("out", "rank", "into"), [(30, 1, 20), (30, 3, 20), (400, 3, 700)])
def test_absolute_sums_of_an_update_are_those_of_the_scaled_product(
    out: int, rank: int, into: int, random_matrices: Any, pack_delta: Any, agree: Any
) -> None:
    up, down = random_matrices(5, out, rank, seed=1), random_matrices(5, rank, into, seed=2)
    found = absolute_sums(pack_delta((up, down), scale=torch.full((5, 1), -2.0)))
    size = 2.0 * (up.double() @ down.double()).abs()
    agree(found.l1[:, 0], size.sum((1, 2)), 1e-6)
    agree(found.one[:, 0], size.sum(1).amax(1), 1e-6)
    agree(found.inf[:, 0], size.sum(2).amax(1), 1e-6)
