from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels.absolute_sums import absolute_sums
from wsa_kernels.extrema import extrema
from wsa_kernels.fused.table import table
from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Delta, Factors
from wsa_kernels.moments import moments

# one, few, and below, at and above the 16 that a tile takes at once; more than shared memory holds
RANKS = [1, 8, 15, 16, 17, 65]


@pytest.mark.parametrize("ranks", [*([rank] for rank in RANKS), [3, 40, 1]], ids=str)
def test_updates_of_any_rank_agree_with_the_reference(
    ranks: list[int], random_matrices: Any, pack_delta: Any, place: Any, agree: Any
) -> None:
    modules = [
        (random_matrices(1, 65, rank, seed=rank), random_matrices(1, rank, 33, seed=-rank))
        for rank in ranks
    ]
    matrices = place(pack_delta(*modules))
    exact = Delta(matrices.flat.double().cpu(), matrices.layout, matrices.scale.double().cpu())
    for operation in (moments, extrema, absolute_sums):
        for found, wanted in zip(operation(matrices, "triton"), operation(exact), strict=True):
            agree(found.cpu(), wanted, 1e-5)


def test_a_layer_off_the_boundaries_that_kernels_trust_is_refused() -> None:
    layout = Layout(((2, 3),), (8,), (), 32)
    with pytest.raises(ValueError, match="multiples of 16"):
        table(Factors(torch.zeros(1, 32), layout))
