from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels import matrices as tiles
from wsa_kernels.fused.sorting import in_order

# one lane, a warp, one over and one under; sorted in registers, and one by the library
SIZES = [1, 2, 3, 16, 31, 32, 33, 63, 64, 65]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_rows_come_out_in_order_where_they_lay(
    dtype: torch.dtype, random_matrices: Any, pack_factors: Any, place: Any
) -> None:
    layers = [random_matrices(1, 1, size, seed=size).to(dtype) for size in SIZES]
    (found,) = in_order(place(pack_factors(*layers)))
    assert found.rows.dtype == dtype
    for offset, layer in zip(found.table.offsets.tolist(), layers, strict=True):
        row = found.rows[0, offset : offset + layer.numel()].cpu()
        assert torch.equal(row, layer.flatten().sort().values)


def test_ties_infinities_and_zeros_are_kept(pack_factors: Any, place: Any) -> None:
    w = torch.tensor([[[0.0, float("inf"), -1.0, 0.0, float("-inf"), -1.0, 2.0]]])
    (found,) = in_order(place(pack_factors(w)))
    assert torch.equal(found.rows[0, :7].cpu(), w.flatten().sort().values)


def test_adapters_are_sorted_in_parts_of_bounded_size(
    random_matrices: Any, pack_factors: Any, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = random_matrices(5, 1, 80)
    for constant in ("TILE_BYTES", "CUDA_TILE_BYTES"):
        monkeypatch.setattr(tiles, constant, 2 * w[0].nbytes)
    parts = list(in_order(place(pack_factors(w))))
    assert [part.adapters for part in parts] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    rows = torch.cat([part.rows for part in parts]).cpu()
    assert torch.equal(rows, w.flatten(1).sort(-1).values)
