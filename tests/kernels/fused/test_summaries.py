from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from wsa_kernels.fused.summaries import store_summaries
from wsa_kernels.spectrum import _describe

COUNT = 4


@triton.jit
def _fields_kernel(energies_ptr, out_ptr, K: tl.constexpr, COUNT: tl.constexpr):
    matrix = tl.arange(0, COUNT)
    energy = tl.load(energies_ptr + matrix[:, None] * K + tl.arange(0, K)[None, :])
    tolerance = tl.full([COUNT], 1e-5, tl.float64)
    level = (matrix == 2).to(tl.int32)
    store_summaries(out_ptr + matrix, energy, level, tolerance, matrix < COUNT, COUNT, K)


@pytest.mark.parametrize("side", [8, 16])
def test_the_fields_are_those_of_the_reference(side: int, device: str) -> None:
    generator = torch.Generator().manual_seed(side)
    energies = torch.rand(COUNT, side, generator=generator, dtype=torch.float64)
    energies[0], energies[1, 3:] = 0, 0
    energies = energies.sort(descending=True).values
    found = torch.zeros(42, COUNT, dtype=torch.float64, device=device)
    _fields_kernel[(1,)](energies.to(device), found, K=side, COUNT=COUNT, num_warps=1)
    wanted = _describe(energies, torch.tensor(1e-5).double())
    wanted[2, 20:29] = 0  # a level matrix has no gaps
    torch.testing.assert_close(found.T.cpu(), wanted, rtol=1e-12, atol=1e-14)
