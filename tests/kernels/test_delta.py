from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from wsa_kernels.delta import factored, in_blocks, means
from wsa_kernels.fourier import fourier
from wsa_kernels.matrices import Delta
from wsa_kernels.row_col_norms import row_col_norms
from wsa_kernels.spectrum import spectrum


@pytest.mark.parametrize("rank", [1, 3, 8, 50])
def test_narrow_factors_have_the_gram_matrices_of_the_update(
    rank: int, random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(4, 33, rank, seed=1), random_matrices(4, rank, 20, seed=2)
    scale = torch.tensor([[0.5], [1.0], [-2.0], [0.0]])
    product = scale[..., None].double() * (up.double() @ down.double())
    (part,) = factored(pack_delta((up, down), scale=scale))
    left, right = part.left(), part.right()
    torch.testing.assert_close(left @ left.mT, product @ product.mT, rtol=0, atol=1e-9)
    torch.testing.assert_close(right.mT @ right, product.mT @ product, rtol=0, atol=1e-9)


def test_zeros_in_the_rank_stay_exactly_zero(random_matrices: Any, pack_delta: Any) -> None:
    up, down = random_matrices(4, 33, 6), random_matrices(4, 6, 20)
    down[:, 2:] = 0
    (part,) = factored(pack_delta((up, down)))
    assert ((part.left() != 0).any(-2).sum(-1) == 2).all()


def test_operations_on_one_delta_share_its_roots(
    random_matrices: Any, pack_delta: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cholesky = Mock(wraps=np.linalg.cholesky)
    monkeypatch.setattr(np.linalg, "cholesky", cholesky)
    matrices = pack_delta((random_matrices(4, 33, 3), random_matrices(4, 3, 20)))
    for operation in (spectrum, row_col_norms, fourier):
        fresh = Delta(matrices.flat, matrices.layout, matrices.scale)
        found: list[tuple[torch.Tensor, ...]] = [operation(each) for each in (matrices, fresh)]
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert cholesky.call_count == 1 + 1 + 1 + 1


def test_means_come_in_the_order_of_the_modules(
    random_matrices: Any, pack_delta: Any, agree: Any
) -> None:
    shapes = [(9, 2, 5), (4, 1, 7), (9, 2, 5), (4, 1, 7)]
    modules = [
        (random_matrices(3, out, rank, seed=m), random_matrices(3, rank, into, seed=-m))
        for m, (out, rank, into) in enumerate(shapes)
    ]
    wanted = [(up.double() @ down.double()).mean((1, 2)) for up, down in modules]
    agree(means(pack_delta(*modules)), torch.stack(wanted, 1), 1e-6)


@pytest.mark.parametrize("rank", [1, 8, 16])
def test_equal_rows_of_an_update_are_equal_to_the_last_bit(
    rank: int, random_matrices: Any, pack_delta: Any
) -> None:
    # a number of rows and columns that leaves BLAS a rest, which it rounds apart
    up = random_matrices(3, 1, rank, seed=1).expand(3, 45, rank)
    matrices = pack_delta((up, random_matrices(3, rank, 31, seed=2)))
    (tile,) = matrices.tiles()
    assert torch.equal(tile.values, tile.values[..., :1, :].expand_as(tile.values))


@pytest.mark.parametrize("block", [1, 50, 45 * 31, 2 * 45 * 31, 1 << 20])
def test_blocks_hold_every_row_of_every_update_once(
    block: int, random_matrices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa_kernels.delta.BLOCK", block)
    up, down = random_matrices(5, 45, 3).double(), random_matrices(5, 3, 31).double()
    parts = list(in_blocks(up, down, lambda values, some: (values, down[some])))
    assert all(torch.equal(other, down) for _, other in parts)
    torch.testing.assert_close(torch.cat([values for values, _ in parts], 1), up @ down)
