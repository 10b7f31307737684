from __future__ import annotations

import torch
import triton
import triton.language as tl

from wsa_kernels.fused.placing import place, store_placed
from wsa_kernels.histogram import histogram, normal_shares
from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Factors


@triton.jit
def _placed_kernel(w_ptr, bounds_ptr, normal_ptr, out_ptr, size, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    w = tl.load(w_ptr + at, mask=at < size, other=0.0)
    mean, std = tl.load(bounds_ptr), tl.load(bounds_ptr + 1)
    low, high = tl.load(bounds_ptr + 2), tl.load(bounds_ptr + 3)
    z, ranges = tl.zeros([64], tl.int32), tl.zeros([64], tl.int32)
    near_zero, away = tl.full([], 0, tl.int32), tl.full([], 0.0, tl.float64)
    z, ranges, near_zero, away = place(
        w, at < size, mean, std, low, high, z, ranges, near_zero, away
    )
    store_placed(out_ptr, normal_ptr, size.to(tl.float64), z, ranges, near_zero, away)


def test_a_tile_is_placed_as_the_reference_places_it(device: str) -> None:
    w = torch.randn(100, generator=torch.Generator().manual_seed(0))
    w[:3] = torch.tensor([6.0, -7.0, 1e-5])
    exact = w.double()
    bounds = torch.stack([exact.mean(), exact.std(), exact.min(), exact.max()])
    out = torch.full((71,), torch.nan, dtype=torch.float64, device=device)
    inputs = (each.to(device) for each in (w, bounds, normal_shares().log()))
    _placed_kernel[(1,)](*inputs, out, 100, BLOCK=128, num_warps=1)
    layer = Factors(torch.nn.functional.pad(exact, (0, 12))[None], Layout.plan([(10, 10)]))
    wanted = torch.cat([each.flatten() for each in histogram(layer)])
    torch.testing.assert_close(out.cpu(), wanted, rtol=1e-12, atol=1e-14)
