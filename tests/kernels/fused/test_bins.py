from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from wsa_kernels.fused.placing import place as place_tile
from wsa_kernels.histogram import histogram
from wsa_kernels.matrices import Factors

EDGES = np.array([-np.inf, *np.linspace(-4, 4, 65)[1:-1], np.inf])


def test_an_entry_one_millionth_of_a_deviation_from_an_edge_is_on_its_side(
    pack_factors: Any, place: Any
) -> None:
    near = np.repeat(EDGES[1:-1], 4) + np.tile([-1e-6, 1e-6, -1e-6, 1e-6], 63)
    # as many entries about 0 as bring the variance to 1
    inner = np.sqrt((len(near) + 1199 - np.sum(near**2)) / 1200)
    z = torch.from_numpy(np.concatenate([near, np.tile([inner, -inner], 600)])).float()
    found = histogram(place(pack_factors(z.view(1, 1, -1))), "triton")
    wanted = np.histogram(z, EDGES)[0]
    assert np.array_equal((found.z[0, 0].cpu() * len(z)).round().numpy(), wanted)
    assert found.tail_2.item() == pytest.approx((z.abs() > 2).double().mean().item())
    assert found.tail_3.item() == pytest.approx((z.abs() > 3).double().mean().item())


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 2049])
def test_counts_are_exact_far_from_zero_and_close_to_it(
    size: int, random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    w = random_matrices(1, 1, size)
    packed = pack_factors(w + 1e3, w * 1e-12)
    found = histogram(place(packed), "triton")
    wanted = histogram(Factors(packed.flat.double(), packed.layout))
    for name in found._fields:
        off = getattr(found, name).cpu().double() - getattr(wanted, name)
        assert off.abs().max() <= 2e-7 * getattr(wanted, name).abs().max().clamp_min(1)


def test_no_entry_is_counted_that_is_not_there(
    random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    packed = pack_factors(random_matrices(2, 3, 7), random_matrices(2, 1, 300, seed=1))
    found = histogram(place(packed), "triton")
    assert torch.equal(found.z.sum(-1).round(decimals=6).cpu(), torch.ones(2, 2))


@triton.jit
def _tile_kernel(
    tile_ptr,  # [8, 16]
    z_ptr,  # [64]
    ranges_ptr,  # [64]
):
    rows, cols = tl.arange(0, 8)[:, None], tl.arange(0, 16)[None, :]
    valid = (rows < 7) & (cols < 15)
    w = tl.load(tile_ptr + rows * 16 + cols)
    mean, std = tl.full([], 0.0, tl.float64), tl.full([], 1.0, tl.float64)
    low, high = tl.full([], -4.0, tl.float64), tl.full([], 6.0, tl.float64)
    z, ranges = tl.zeros([64], tl.int32), tl.zeros([64], tl.int32)
    near_zero, away = tl.full([], 0, tl.int32), tl.full([], 0.0, tl.float64)
    z, ranges, near_zero, away = place_tile(
        w, valid, mean, std, low, high, z, ranges, near_zero, away
    )
    tl.store(z_ptr + tl.arange(0, 64), z)
    tl.store(ranges_ptr + tl.arange(0, 64), ranges)


def test_a_tile_of_rows_and_columns_is_placed_like_a_row(random_matrices: Any) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tile = random_matrices(8, 16).to(device)
    z, ranges = (torch.empty(64, dtype=torch.int32, device=device) for _ in range(2))
    _tile_kernel[(1,)](tile, z, ranges)
    there = tile[:7, :15].cpu().flatten()
    assert np.array_equal(z.cpu(), np.histogram(there, EDGES)[0])
    assert np.array_equal(ranges.cpu()[:50], np.histogram(there, 50, (-4, 6))[0])
