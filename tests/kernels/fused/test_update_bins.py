from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels.histogram import histogram
from wsa_kernels.matrices import Delta


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_the_entries_of_an_update_are_counted_where_they_fall(
    rank: int, random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    modules = [
        (random_matrices(2, out, rank, seed=out), random_matrices(2, rank, into, seed=into))
        for out, into in ((70, 40), (9, 1))
    ]
    scale = torch.tensor([[-2.0, 1.0], [0.5, 3.0]])
    matrices = place(pack_delta(*modules, scale=scale))
    found = histogram(matrices, "triton")
    wanted = histogram(Delta(matrices.flat.double(), matrices.layout, matrices.scale), "reference")
    # an entry within rounding of an edge may fall to its other side: one of 2,800, or of 9
    for name, one, true in zip(found._fields, found, wanted, strict=True):
        off = (one - true).abs()
        assert off[:, 0].max() <= (1e-2 if "entropy" in name or "kl" in name else 1 / 2800), name
        assert off[:, 1].max() <= (0.3 if "entropy" in name or "kl" in name else 1 / 9), name


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_update_has_nothing_to_count(value: float, pack_delta: Any, place: Any) -> None:
    matrices = place(pack_delta((torch.full((1, 4, 1), value), torch.ones(1, 1, 9))))
    assert not any(each.any() for each in histogram(matrices, "triton"))
