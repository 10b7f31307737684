from __future__ import annotations

from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.fused.jacobi import column_lengths
from wsa_kernels.fused.lanes import columns_of_lanes, energies_of_lanes, in_order


@triton.jit
def _by_columns(w_ptr, out_ptr, K: tl.constexpr):
    i, j = tl.arange(0, K)[:, None], tl.arange(0, K)[None, :]
    lengths = column_lengths(tl.load(w_ptr + i * K + j), K)
    tl.store(out_ptr + tl.arange(0, K), lengths)


@triton.jit
def _by_lanes(w_ptr, out_ptr, K: tl.constexpr, COUNT: tl.constexpr):
    matrix = tl.arange(0, COUNT)
    valid = matrix < COUNT
    columns = columns_of_lanes(w_ptr, w_ptr, matrix * (K * K), valid, K, False)
    one = tl.full([COUNT], 1.0, tl.float64)
    found = in_order(energies_of_lanes(columns, one, K, False), K)
    for j in tl.static_range(K):
        tl.store(out_ptr + matrix * K + j, found[j])


def graded(side: int, condition: float, count: int = 1) -> tuple[Tensor, Tensor]:
    """Draw matrices whose singular values, which come too, fall from 1 to 1 / condition."""
    generator = torch.Generator().manual_seed(side)
    draws = torch.randn(2, count, side, side, generator=generator, dtype=torch.float64)
    left, right = torch.linalg.qr(draws).Q
    values = condition ** -torch.linspace(0, 1, side, dtype=torch.float64)
    return (left * values) @ right, values


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("condition", [1.0, 1e8])
@pytest.mark.parametrize("side", [2, 8])
def test_lengths_of_orthogonal_columns_are_singular_values(side: int, condition: float) -> None:
    (w,), values = graded(side, condition)
    found = torch.full((side,), torch.nan, dtype=torch.float64, device=device())
    _by_columns[(1,)](w.to(device()), found, K=side, num_warps=1)
    torch.testing.assert_close(found.sort(descending=True).values.cpu(), values, rtol=0, atol=1e-14)


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e12])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_a_lane_finds_the_singular_values_of_its_matrix(side: int, condition: float) -> None:
    w, values = graded(side, condition, 16)
    found: Any = torch.full((16, side), torch.nan, dtype=torch.float64, device=device())
    _by_lanes[(1,)](w.to(device()), found, K=side, COUNT=16, num_warps=1)
    torch.testing.assert_close(found.cpu(), values.expand(16, side), rtol=0, atol=1e-14)
