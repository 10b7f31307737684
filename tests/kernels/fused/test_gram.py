from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels.fused.gram import beyond, by_side, gram

SIDES = [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16), (32, 32), (33, 64)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("side", "k"), SIDES, ids=str)
def test_gram_matrices_are_exact_products_padded_with_zeros(
    side: int, k: int, dtype: torch.dtype, random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    w = random_matrices(2, side, 70).to(dtype)
    matrices = place(pack_factors(w, w.mT.contiguous()))
    wanted = torch.nn.functional.pad(w.double() @ w.double().mT, (0, k - side) * 2)
    for layer, wide in enumerate((True, False)):
        found = gram(matrices, [layer], wide, k, each=False).matrices[:, 0].cpu()
        torch.testing.assert_close(found, wanted, rtol=1e-14, atol=1e-13)
        assert torch.equal(found == 0, wanted == 0)


@pytest.mark.parametrize("shape", [(1, 300), (3, 70), (16, 100)], ids=str)
def test_a_level_layer_holds_one_value_or_one_a_row(
    shape: tuple[int, int], pack_factors: Any, place: Any
) -> None:
    rows = torch.arange(1.0, shape[0] + 1)[None, :, None].expand(1, *shape).contiguous()
    odd = torch.full((1, *shape), 0.1)
    odd[0, -1, -1] = 0.2
    matrices = place(pack_factors(torch.full((1, *shape), 0.1), rows, odd))
    k = next(by_side(matrices))[0]
    for each, wanted in ((False, [1, int(shape[0] == 1), 0]), (True, [1, 1, 0])):
        assert gram(matrices, [0, 1, 2], True, k, each).level.tolist() == [wanted]


def test_layers_of_equal_padded_sides_share_a_launch(pack_factors: Any, pack_delta: Any) -> None:
    shapes = [(3, 90), (90, 4), (1, 9), (70, 80), (64, 70)]
    matrices = pack_factors(*(torch.zeros(1, *shape) for shape in shapes))
    assert list(by_side(matrices)) == [(1, [2]), (4, [0, 1]), (64, [4])]
    assert beyond(matrices) == [3]
    update = pack_delta((torch.zeros(1, 2, 65), torch.zeros(1, 65, 2)))
    assert (list(by_side(update)), beyond(update)) == ([], [0])
