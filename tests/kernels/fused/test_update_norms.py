from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels import matrices as tiles
from wsa_kernels.row_col_norms import row_col_norms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rank", [1, 2, 3, 8, 12, 40])
def test_norms_of_an_update_are_those_of_the_product(
    rank: int, dtype: torch.dtype, random_matrices: Any, pack_delta: Any, place: Any, agree: Any
) -> None:
    up, down = random_matrices(2, 300, rank).to(dtype), random_matrices(2, rank, 31).to(dtype)
    scale = torch.tensor([[0.5], [-2.0]])
    found = row_col_norms(place(pack_delta((up, down), scale=scale)), "triton")
    product = scale.double()[..., None] * (up.double() @ down.double())
    agree(found.row_mean[:, 0].cpu(), product.norm(dim=-1).mean(-1), 1e-6)
    agree(found.row_std[:, 0].cpu(), product.norm(dim=-1).std(-1), 1e-6)
    agree(found.col_max[:, 0].cpu(), product.norm(dim=-2).amax(-1), 1e-6)
    agree(found.col_profile[:, 0, :31].cpu(), product.norm(dim=-2), 1e-6)


def test_a_row_in_a_weak_direction_of_the_other_factor_keeps_its_norm(
    random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    up, down = torch.eye(3, 2)[None], random_matrices(1, 2, 50)
    down[:, 1] *= 1e-4
    found = row_col_norms(place(pack_delta((up, down))), "triton").row_profile[0, 0, :3]
    wanted = (up.double() @ down.double()).norm(dim=-1)[0]
    torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("zero", ["up", "down"])
def test_an_update_with_a_zero_factor_is_exactly_zero(
    zero: str, random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    up, down = random_matrices(2, 33, 4), random_matrices(2, 4, 40)
    (up if zero == "up" else down).zero_()
    found = row_col_norms(place(pack_delta((up, down))), "triton")
    assert not any(each.any() for each in found)


def test_ranks_differ_and_one_is_beyond_registers(
    random_matrices: Any, pack_delta: Any, place: Any, agree: Any
) -> None:
    ranks = (3, 65, 1)
    matrices = pack_delta(
        *((random_matrices(2, 40, rank), random_matrices(2, rank, 70)) for rank in ranks)
    )
    found, wanted = row_col_norms(place(matrices), "triton"), row_col_norms(matrices)
    for one, other in zip(found, wanted, strict=True):
        agree(one.cpu(), other, 1e-6)


def test_norms_of_updates_in_bounded_chunks_have_the_same_bytes(
    random_matrices: Any, pack_delta: Any, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = [(random_matrices(3, 9, rank), random_matrices(3, rank, 7)) for rank in (1, 2)]
    whole = row_col_norms(place(pack_delta(*modules)), "triton")
    monkeypatch.setattr(tiles, "TILE_BYTES", 1)
    monkeypatch.setattr(tiles, "CUDA_TILE_BYTES", 1)
    chunks = row_col_norms(place(pack_delta(*modules)), "triton")
    assert all(torch.equal(one, other) for one, other in zip(whole, chunks, strict=True))
