from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from wsa_kernels.reductions import (
    LONGEST_SUM,
    PIECE,
    centred,
    column_total,
    entropy,
    ratio,
    share_below,
    total,
)


@pytest.mark.parametrize("length", [0, 1, 7, LONGEST_SUM, LONGEST_SUM + 1, 5 * PIECE, 70001])
def test_a_total_is_the_sum(length: int, random_matrices: Any) -> None:
    values = random_matrices(3, length).double()
    torch.testing.assert_close(total(values), values.sum(-1), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("length", [40000, 70001])
def test_the_total_of_a_row_alone_has_the_same_bytes_on_two_threads(
    length: int, random_matrices: Any
) -> None:
    values = random_matrices(9, length)
    wanted = total(values)
    torch.set_num_threads(2)
    alone = torch.cat([total(row) for row in values.split(1)])
    columns = torch.cat([column_total(row.unsqueeze(-1)) for row in values.split(1)])
    torch.set_num_threads(1)
    assert torch.equal(alone, wanted)
    assert torch.equal(columns[:, 0], wanted)


@pytest.mark.parametrize("value", [0.1, -3e7, 1e-30])
def test_a_constant_row_is_exactly_zero_about_its_mean(value: float) -> None:
    for dtype in (torch.float32, torch.float64):
        values = torch.full((2, 7919), value, dtype=dtype)
        found = centred(values)
        assert not found.entries.any()
        assert torch.equal(found.mean, values[:, 0].double())


def test_a_ratio_with_nothing_below_is_zero() -> None:
    found = ratio(torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.0, 0.0, 2.0]))
    assert found.tolist() == [0.0, 0.0, 1.5]


def test_a_mean_far_off_and_a_first_entry_that_is_an_outlier_lose_nothing() -> None:
    values = torch.tensor([[1e8, 1.0, 2.0, 3.0], [1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3]]).double()
    found = centred(values)
    torch.testing.assert_close(found.mean, values.mean(-1), rtol=1e-15, atol=0)
    torch.testing.assert_close(found.entries, values - values.mean(-1, keepdim=True))


def test_the_share_below_a_bound_leaves_out_the_bound_itself() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 1.0]])
    found = share_below(values, torch.tensor([3.0, 0.0]).double())
    assert found.tolist() == [0.5, 0.0]


def test_nothing_comes_of_a_share_of_zero() -> None:
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]).double()
    torch.testing.assert_close(entropy(shares), torch.tensor([math.log(2), 0.0]).double())
