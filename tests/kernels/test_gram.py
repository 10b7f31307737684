from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wsa_kernels.gram import eigenvalues, gram, product, square_root


@pytest.mark.parametrize("rank", [1, 2, 3, 16])
def test_a_product_is_that_of_numpy(rank: int, random_matrices: Any) -> None:
    left, right = random_matrices(5, 7, rank).double(), random_matrices(5, rank, 9).double()
    wanted = np.einsum("bij,bjk->bik", left.numpy(), right.numpy())
    np.testing.assert_allclose(product(left, right).numpy(), wanted, atol=1e-13)


def test_a_float32_gram_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs float64; got torch\.float32"):
        gram(torch.zeros(1, 2, 3))


@pytest.mark.parametrize("rank", [1, 3, 20])
def test_a_square_root_gives_its_gram_matrix_back(rank: int, random_matrices: Any) -> None:
    squares = gram(random_matrices(6, rank, 50).double())
    root = square_root(squares, 50)
    torch.testing.assert_close(root @ root.mT, squares, rtol=0, atol=1e-12)


def test_eigenvalues_of_missing_directions_are_exactly_zero(random_matrices: Any) -> None:
    narrow = random_matrices(6, 9, 2).double() @ random_matrices(6, 2, 50, seed=1).double()
    squares = gram(narrow)
    assert (eigenvalues(squares, 50) > 0).sum() == 12
    assert ((square_root(squares, 50) != 0).any(-2)).sum() == 12
    assert not square_root(torch.zeros(2, 3, 3, dtype=torch.float64), 50).any()


def test_eigenvalues_come_greatest_first(random_matrices: Any) -> None:
    squares = gram(random_matrices(6, 5, 50).double())
    found = eigenvalues(squares, 50)
    torch.testing.assert_close(found, torch.linalg.eigvalsh(squares).flip(-1))
