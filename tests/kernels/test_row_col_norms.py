from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from wsa_kernels.row_col_norms import RowColNorms, row_col_norms

SHAPES = [(1, 1), (1, 40), (31, 1), (32, 33), (64, 31), (100, 170)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def expected(w: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for axis, other in (("row", 2), ("col", 1)):
        norms = np.linalg.norm(w, axis=other)  # [N, m]
        count = norms.shape[1]
        bounds = [i * count // 32 for i in range(33)] if count >= 32 else [*range(count + 1)]
        groups = [norms[:, a:b] for a, b in pairwise(bounds)]
        profile = np.zeros((len(w), 32))
        profile[:, : len(groups)] = np.stack([np.sqrt((g**2).mean(1)) for g in groups], 1)
        found[f"{axis}_mean"], found[f"{axis}_max"] = norms.mean(1), norms.max(1)
        found[f"{axis}_std"] = norms.std(1, ddof=1) if count > 1 else np.zeros(len(w))
        found[f"{axis}_profile"] = profile
    return found


def check(found: RowColNorms, w: np.ndarray, agree: Any) -> None:
    for name, wanted in expected(w).items():
        agree(getattr(found, name)[:, 0], wanted, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_norms_of_rows_and_columns_agree_with_numpy(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any, agree: Any
) -> None:
    w = random_matrices(6, *shape).to(dtype)
    check(row_col_norms(pack_factors(w)), w.double().numpy(), agree)


@pytest.mark.parametrize("rank", [1, 4, 40])
def test_norms_of_an_update_are_those_of_the_product(
    rank: int, random_matrices: Any, pack_delta: Any, agree: Any
) -> None:
    up, down = random_matrices(6, 33, rank, seed=1), random_matrices(6, rank, 70, seed=2)
    scale = torch.tensor([[0.5], [1.0], [-2.0], [3.0], [1e-3], [0.0]])
    product = scale.double()[..., None] * (up.double() @ down.double())
    check(row_col_norms(pack_delta((up, down), scale=scale)), product.numpy(), agree)


def test_a_row_in_a_weak_direction_of_the_other_factor_keeps_its_norm(
    random_matrices: Any, pack_delta: Any
) -> None:
    up, down = torch.eye(3, 2)[None], random_matrices(1, 2, 50)
    down[:, 1] *= 1e-4
    found = row_col_norms(pack_delta((up, down))).row_profile[0, 0, :3]
    wanted = (up.double() @ down.double()).norm(dim=-1)[0]
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=0)


def test_equal_norms_have_no_spread(pack_factors: Any) -> None:
    found = row_col_norms(pack_factors(torch.full((2, 37, 41), 0.1)))
    assert not found.row_std.any()
    assert not found.col_std.any()


@pytest.mark.parametrize("zero", ["up", "down"])
def test_an_update_with_a_zero_factor_is_exactly_zero(
    zero: str, random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(2, 33, 4), random_matrices(2, 4, 40)
    (up if zero == "up" else down).zero_()
    assert not any(each.any() for each in row_col_norms(pack_delta((up, down))))
