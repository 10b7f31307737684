from __future__ import annotations

from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from wsa_kernels import update_moments
from wsa_kernels.matrices import Delta
from wsa_kernels.update_moments import moments_of_updates

# out, in and rank of updates left to their factors, and of others
CLOSED = [(60, 50, 1), (60, 50, 2), (320, 320, 4), (9, 700, 1)]
FORMED = [(60, 50, 5), (320, 320, 8), (33, 40, 4), (1, 40_001, 1)]


def found_of(up: Tensor, down: Tensor, pack_delta: Any) -> Tensor:
    (part,) = moments_of_updates(pack_delta((up, down), scale=torch.full((len(up), 1), -0.5)))
    return part.features


def off(found: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Return how far off each of the five is from scipy's, in units of s to its power."""
    entries = (-0.5 * (up.double() @ down.double())).flatten(1)
    std = entries.std(1)
    central = [torch.tensor(scipy.stats.moment(entries.numpy(), k, axis=1)) for k in (2, 3, 4)]
    wanted = torch.stack([entries.mean(1), std, *central], 1)
    powers = torch.tensor([1, 1, 2, 3, 4])
    return (found - wanted).abs() / std[:, None] ** powers


@pytest.mark.parametrize(("out", "into", "rank"), CLOSED + FORMED)
def test_moments_of_updates_agree_with_scipy(
    out: int, into: int, rank: int, random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(3, out, rank) + 0.2, random_matrices(3, rank, into, seed=1) - 0.1
    assert off(found_of(up, down, pack_delta), up, down).max() < 1e-9


@pytest.mark.parametrize(("out", "into", "rank"), CLOSED)
def test_few_ranks_of_many_entries_are_never_formed(
    out: int, into: int, rank: int, random_matrices: Any, pack_delta: Any, monkeypatch: Any
) -> None:
    monkeypatch.delattr(update_moments, "in_blocks")
    found_of(random_matrices(3, out, rank), random_matrices(3, rank, into), pack_delta)


@pytest.mark.parametrize("condition", [1e2, 1e5])
def test_an_update_whose_terms_cancel_is_formed(
    condition: float, random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(3, 320, 2), random_matrices(3, 2, 300, seed=1)
    up[1, :, 1] = up[1, :, 0] * (1 + 1 / condition)
    down[1, 1] = -down[1, 0]
    found = found_of(up, down, pack_delta)
    assert off(found, up, down).max() < 1e-8
    assert torch.equal(found_of(up[1:2], down[1:2], pack_delta), found[1:2])


@pytest.mark.parametrize("rank", [1, 2, 9])
def test_a_constant_update_has_a_mean_and_nothing_else(rank: int, pack_delta: Any) -> None:
    up, down = torch.full((2, 60, rank), 0.1), torch.full((2, rank, 50), 0.3)
    down[1] = 0
    found = found_of(up, down, pack_delta)
    torch.testing.assert_close(found[:, 0], torch.tensor([-0.015 * rank, 0]).double())
    assert not found[:, 1:].any()


def test_an_adapter_that_is_not_finite_changes_no_other(
    random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(3, 60, 2), random_matrices(3, 2, 50)
    whole = found_of(up, down, pack_delta)
    up[1, 7, 0] = torch.nan
    found = found_of(up, down, pack_delta)
    assert torch.equal(found[::2], whole[::2])
    assert found[1].isnan().all()


def test_float64_asks_for_the_entries_themselves(random_matrices: Any, pack_delta: Any) -> None:
    matrices = pack_delta((random_matrices(1, 9, 1), random_matrices(1, 1, 9)))
    exact = Delta(matrices.flat.double(), matrices.layout, matrices.scale)
    assert matrices.takes_short_cuts
    assert not exact.takes_short_cuts
