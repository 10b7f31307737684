from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels import matrices as tiles
from wsa_kernels.absolute_sums import absolute_sums
from wsa_kernels.fused.marginals import marginals
from wsa_kernels.row_col_norms import row_col_norms

# sides of one, below, at and above a profile's 32 groups, a tile's 16 rows and 8 a group
SHAPES = [(1, 31), (33, 1), (2, 256), (257, 3), (17, 40), (40, 33), (32, 64)]


def test_every_row_and_column_is_counted_once(
    random_matrices: Any, pack_factors: Any, place: Any, agree: Any
) -> None:
    matrices = pack_factors(*(random_matrices(2, *shape) for shape in SHAPES))
    for operation in (row_col_norms, absolute_sums):
        found, wanted = operation(place(matrices), "triton"), operation(matrices)
        for one, other in zip(found, wanted, strict=True):
            agree(one.cpu(), other, 1e-6)


def test_equal_norms_have_no_spread(pack_factors: Any, place: Any) -> None:
    shapes = [(1, 50), (50, 1), (37, 41), (3, 300), (7, 7), (1, 777)]
    layers = (torch.full((2, *shape), value) for shape in shapes for value in (0.1, 0.7))
    found = row_col_norms(place(pack_factors(*layers)), "triton")
    assert not found.row_std.any()
    assert not found.col_std.any()


def test_a_small_spread_of_large_norms_survives(
    random_matrices: Any, pack_factors: Any, place: Any, agree: Any
) -> None:
    w = 1 + 1e-4 * random_matrices(2, 4, 300)
    found = row_col_norms(place(pack_factors(w)), "triton").col_std.cpu()
    agree(found, row_col_norms(pack_factors(w.double())).col_std, 1e-6)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_squares_of_tiny_and_huge_entries_are_not_lost(
    size: float, random_matrices: Any, pack_factors: Any, place: Any, agree: Any
) -> None:
    w = size * random_matrices(2, 3, 40)
    found = row_col_norms(place(pack_factors(w)), "triton")
    agree(found.row_profile.cpu() / size, row_col_norms(pack_factors(w)).row_profile / size, 1e-6)


def test_norms_and_sums_share_their_launches_and_bytes_do_not_depend_on_chunks(
    random_matrices: Any, pack_factors: Any, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = random_matrices(3, 5, 30), random_matrices(3, 30, 2), random_matrices(3, 9, 1)
    matrices = place(pack_factors(*layers))
    whole = marginals(matrices)
    assert marginals(matrices) is whole
    monkeypatch.setattr(tiles, "TILE_BYTES", 1)
    monkeypatch.setattr(tiles, "CUDA_TILE_BYTES", 1)
    chunks = marginals(place(pack_factors(*layers)))
    assert all(torch.equal(one, other) for one, other in zip(whole, chunks, strict=True))
