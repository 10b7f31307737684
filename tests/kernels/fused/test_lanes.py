from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from wsa_kernels.fused.lanes import columns_of_lanes, energies_of_lanes, in_order, store_lanes
from wsa_kernels.spectrum import _describe

COUNT = 16


@triton.jit
def _energies_kernel(left_ptr, right_ptr, out_ptr, K: tl.constexpr, COUNT: tl.constexpr):
    matrix = tl.arange(0, COUNT)
    valid, four = matrix < COUNT, tl.full([COUNT], 4.0, tl.float64)
    columns = columns_of_lanes(left_ptr, right_ptr, matrix * (K * K), valid, K, True)
    found = in_order(energies_of_lanes(columns, K, True), four, tl.zeros_like(four), K)
    for j in tl.static_range(K):
        tl.store(out_ptr + matrix * K + j, found[j])


@triton.jit
def _fields_kernel(energies_ptr, out_ptr, K: tl.constexpr, COUNT: tl.constexpr):
    matrix, energies = tl.arange(0, COUNT), ()
    for j in tl.static_range(K):
        energies = energies + (tl.load(energies_ptr + matrix * K + j),)
    tolerance = tl.full([COUNT], 1e-5, tl.float64)
    level = tl.zeros([COUNT], tl.int32)
    store_lanes(out_ptr + matrix, energies, level, tolerance, matrix < COUNT, COUNT, K)


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e12])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_a_lane_finds_the_energies_of_its_update(side: int, condition: float, device: str) -> None:
    generator = torch.Generator().manual_seed(side)
    draws = torch.randn(2, COUNT, side, side, generator=generator, dtype=torch.float64)
    turned = torch.linalg.qr(draws).Q
    values = condition ** -torch.linspace(0, 1, side, dtype=torch.float64)
    left, right = (each.contiguous().to(device) for each in (turned[0] * values, turned[1]))
    found = torch.full((COUNT, side), torch.nan, dtype=torch.float64, device=device)
    # (Q_1 S)^T Q_2 has the singular values S
    _energies_kernel[(1,)](left, right, found, K=side, COUNT=COUNT, num_warps=1)
    wanted = (2 * values).expand(COUNT, side)
    torch.testing.assert_close(found.sqrt().cpu(), wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("side", [1, 2, 4])
def test_the_fields_of_lanes_are_those_of_the_reference(side: int, device: str) -> None:
    generator = torch.Generator().manual_seed(side)
    energies = torch.rand(COUNT, side, generator=generator, dtype=torch.float64)
    energies[0], energies[1, 1:] = 0, 0
    energies = energies.sort(descending=True).values
    found = torch.zeros(42, COUNT, dtype=torch.float64, device=device)
    _fields_kernel[(1,)](energies.to(device), found, K=side, COUNT=COUNT, num_warps=1)
    wanted = _describe(energies, torch.tensor(1e-5).double())
    torch.testing.assert_close(found.T.cpu(), wanted, rtol=1e-12, atol=1e-14)
