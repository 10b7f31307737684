from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wsa_kernels.matrices import Factors
from wsa_kernels.quantiles import PROBABILITIES, quantiles

SIZES = [1, 2, 3, 16, 31, 63, 64, 255, 256, 257, 2049]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_quantiles_are_those_of_numpy_to_one_unit_in_the_last_place(
    dtype: torch.dtype, random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    layers = [random_matrices(1, 1, size, seed=size).to(dtype) for size in SIZES]
    found = quantiles(place(pack_factors(*layers)), "triton").values[0].cpu().numpy()
    for values, layer in zip(found, layers, strict=True):
        wanted = np.quantile(layer.double().numpy(), PROBABILITIES).astype(np.float32)
        assert np.all(np.abs(values - wanted) <= np.spacing(np.abs(wanted)))


@pytest.mark.parametrize("shift", [-9, -3, 0, 4])
def test_ties_of_either_sign_have_the_references_order(
    shift: int, pack_factors: Any, place: Any, agree: Any
) -> None:
    generator = torch.Generator().manual_seed(shift + 9)
    layers = [
        torch.randint(-4, 5, (1, 1, size), generator=generator) / 4 + shift / 4
        for size in (2, 5, 40, 64, 300)
    ]
    packed = pack_factors(*layers)
    found = quantiles(place(packed), "triton")
    wanted = quantiles(Factors(packed.flat.double(), packed.layout))
    for name in found._fields:
        agree(getattr(found, name).cpu(), getattr(wanted, name), 1e-6)


def test_median_deviation_of_few_entries_is_exact(pack_factors: Any, place: Any) -> None:
    layers = [[5.0], [1.0, 4.0], [1.0, 2.0, 9.0], [0.0, 1.0, 5.0, 6.0]]
    packed = pack_factors(*(torch.tensor([[each]]) for each in layers))
    found = quantiles(place(packed), "triton").median_deviation
    assert found.tolist() == [[0.0, 1.5, 1.0, 2.5]]


def test_of_two_entries_none_is_inside_its_quantiles(pack_factors: Any, place: Any) -> None:
    found = quantiles(place(pack_factors(torch.tensor([[[1.0, 2.0]]]))), "triton")
    assert found.trimmed_mean.item() == 0
    assert found.differential.item() == 0
