from __future__ import annotations

import pytest
import scipy.stats
import torch
import triton
import triton.language as tl

from wsa_kernels.fused.power_sums import chunk, merge, store_statistics


@triton.jit
def _two_chunks_kernel(w_ptr, out_ptr, size, BLOCK: tl.constexpr):
    place = tl.arange(0, BLOCK)
    n_a, n_b = tl.full([], BLOCK, tl.float32), (size - BLOCK).to(tl.float32)
    a, b = tl.load(w_ptr + place), tl.load(w_ptr + BLOCK + place)
    mean, m2, m3, m4, low, high = chunk(a, place < BLOCK, n_a)
    mean_b, p2, p3, p4, low_b, high_b = chunk(b, place < size - BLOCK, n_b)
    n, mean, m2, m3, m4 = merge(n_a, mean, m2, m3, m4, n_b, mean_b, p2, p3, p4)
    low, high = tl.minimum(low, low_b), tl.maximum(high, high_b)
    store_statistics(out_ptr, n, mean, m2, m3, m4, low, high, tl.sum(tl.abs(a)).to(tl.float64))


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("size", [65, 100, 128])
def test_two_chunks_have_the_moments_of_both_together(size: int, shift: float, device: str) -> None:
    w = torch.randn(128, generator=torch.Generator().manual_seed(0)).exp() + shift
    w[64:] += 3
    out = torch.full((8,), torch.nan, dtype=torch.float64, device=device)
    _two_chunks_kernel[(1,)](w.to(device), out, size, BLOCK=64, num_warps=1)
    entries, (mean, std, skewness, kurtosis) = w[:size].double(), out[:4].cpu()
    torch.testing.assert_close(mean, entries.mean(), rtol=1e-6, atol=0)
    torch.testing.assert_close(std, entries.std(), rtol=1e-6, atol=0)
    assert abs(skewness - scipy.stats.skew(entries)) < 2e-5
    assert abs(kurtosis - scipy.stats.kurtosis(entries, fisher=False)) < 2e-5
    assert out[4] == entries.min()
    assert out[5] == out[7] == entries.max()
