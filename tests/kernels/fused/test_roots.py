from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels.fused.roots import roots


@pytest.mark.parametrize("rank", [1, 2, 3, 8, 16, 40])
def test_a_root_times_its_transpose_is_the_gram_matrix(
    rank: int, random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    up, down = random_matrices(3, 70, rank), random_matrices(3, rank, 50, seed=1)
    (found,) = roots(place(pack_delta((up, down))))
    for root, w in ((found.up, up.double().mT), (found.down, down.double())):
        product = (root @ root.mT)[:, 0, :rank, :rank].cpu()
        torch.testing.assert_close(product, w @ w.mT, rtol=1e-13, atol=1e-12)


def test_directions_that_are_not_there_are_exactly_zero(
    random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    w = random_matrices(3, 2, 50)
    down = torch.cat([w, w.flip(1), -3 * w[:, :1]], 1)
    (found,) = roots(place(pack_delta((torch.zeros(3, 9, 5), down))))
    assert not found.up.any()
    assert ((found.down != 0).any(-2).sum(-1) == 2).all()


def test_a_strong_row_that_depends_on_a_weak_one_leaves_nothing(
    random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    # taken by size alone, the second row would come before the third and blow up its rounding
    halves = torch.eye(2).repeat_interleave(25, 1).view(2, 1, 1, 50)
    strong, weak = random_matrices(2, 4, 1, 50) * halves
    down = torch.cat([2**20 * strong, 2**20 * strong + 4 * weak, weak], 1)
    (found,) = roots(place(pack_delta((torch.zeros(4, 9, 3), down))))
    assert ((found.down != 0).any(-2).sum(-1) == 2).all()


def test_a_weak_row_is_not_noise(random_matrices: Any, pack_delta: Any, place: Any) -> None:
    down = random_matrices(2, 4, 50)
    down[:, 2] *= 1e-12
    (found,) = roots(place(pack_delta((torch.zeros(2, 9, 4), down))))
    lengths = found.down[:, 0].norm(dim=-1).cpu()
    torch.testing.assert_close(lengths, down.double().norm(dim=-1), rtol=1e-12, atol=0)


def test_roots_are_computed_once_a_shard(random_matrices: Any, pack_delta: Any, place: Any) -> None:
    matrices = place(pack_delta((random_matrices(1, 5, 2), random_matrices(1, 2, 5))))
    assert next(roots(matrices)) is next(roots(matrices))
