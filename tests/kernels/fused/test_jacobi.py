from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from wsa_kernels.fused.jacobi import column_lengths


@triton.jit
def _by_columns(w_ptr, out_ptr, K: tl.constexpr):
    i, j = tl.arange(0, K)[:, None], tl.arange(0, K)[None, :]
    lengths = column_lengths(tl.load(w_ptr + i * K + j), K)
    tl.store(out_ptr + tl.arange(0, K), lengths)


@pytest.mark.parametrize("condition", [1.0, 1e8])
@pytest.mark.parametrize("side", [2, 8])
def test_lengths_of_orthogonal_columns_are_singular_values(
    side: int, condition: float, device: str
) -> None:
    generator = torch.Generator().manual_seed(side)
    draws = torch.randn(2, side, side, generator=generator, dtype=torch.float64)
    left, right = torch.linalg.qr(draws).Q
    values = condition ** -torch.linspace(0, 1, side, dtype=torch.float64)
    found = torch.full((side,), torch.nan, dtype=torch.float64, device=device)
    _by_columns[(1,)](((left * values) @ right).to(device), found, K=side, num_warps=1)
    torch.testing.assert_close(found.sort(descending=True).values.cpu(), values, rtol=0, atol=1e-14)
