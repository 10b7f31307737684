from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels.extrema import extrema


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 40)], ids=str)
def test_extrema_are_exact(
    shape: tuple[int, int], dtype: torch.dtype, random_matrices: Any, pack_factors: Any
) -> None:
    w = random_matrices(5, *shape).to(dtype)
    found = extrema(pack_factors(w))
    assert torch.equal(found.minimum[:, 0].to(dtype), w.amin((1, 2)))
    assert torch.equal(found.maximum[:, 0].to(dtype), w.amax((1, 2)))
    assert torch.equal(found.max_abs[:, 0].to(dtype), w.abs().amax((1, 2)))


# of rank 1, of one block and of several
@pytest.mark.parametrize(("out", "rank", "into"), [(30, 1, 20), (30, 3, 20), (400, 3, 700)])
def test_extrema_of_an_update_are_those_of_the_scaled_product(
    out: int, rank: int, into: int, random_matrices: Any, pack_delta: Any, agree: Any
) -> None:
    up, down = random_matrices(5, out, rank, seed=1), random_matrices(5, rank, into, seed=2)
    found = extrema(pack_delta((up, down), scale=torch.full((5, 1), -2.0)))
    product = -2.0 * (up.double() @ down.double())
    agree(found.minimum[:, 0], product.amin((1, 2)), 1e-7)
    agree(found.maximum[:, 0], product.amax((1, 2)), 1e-7)
    agree(found.max_abs[:, 0], product.abs().amax((1, 2)), 1e-7)
