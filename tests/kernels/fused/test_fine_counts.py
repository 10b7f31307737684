from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa_kernels.fused.fine_counts import fine_histograms
from wsa_kernels.matrices import Delta
from wsa_kernels.quantiles import quantiles


def update(random_matrices: Any, pack_delta: Any, rank: int) -> Delta:
    up, down = random_matrices(2, 70, rank, seed=1), random_matrices(2, rank, 65, seed=2)
    small = (random_matrices(2, 5, rank, seed=3), random_matrices(2, rank, 6, seed=4))
    scale = torch.tensor([[-2.0, 1.0], [0.5, 3.0]])
    found: Delta = pack_delta((up, down), small, scale=scale)
    return found


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_order_statistics_of_an_update_are_within_a_thousandth_of_its_spread(
    rank: int, random_matrices: Any, pack_delta: Any, place: Any
) -> None:
    matrices = place(update(random_matrices, pack_delta, rank))
    found = quantiles(matrices, "triton")
    wanted = quantiles(Delta(matrices.flat.double(), matrices.layout, matrices.scale), "reference")
    spread = torch.stack([tile.values.flatten(2).std(-1) for tile in matrices.tiles()], -1)
    for name in ("values", "median_deviation", "trimmed_mean", "iqr"):
        off = (getattr(found, name) - getattr(wanted, name)).abs() / spread.max()
        assert off.max() <= 1e-3, name
    for name in ("bowley", "moors", "gini", "differential"):
        assert (getattr(found, name) - getattr(wanted, name)).abs().max() <= 5e-3, name


def test_every_entry_is_counted_once(random_matrices: Any, pack_delta: Any, place: Any) -> None:
    matrices = place(update(random_matrices, pack_delta, 2))
    counted = [
        (int(modules), histogram.counts.sum(-1).tolist())
        for _, modules, histogram in fine_histograms(matrices)
    ]
    found = sorted((module, count) for module, some in counted for count in some)
    assert found == [(0, 70 * 65), (0, 70 * 65), (1, 5 * 6), (1, 5 * 6)]


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_update_is_at_its_value(value: float, pack_delta: Any, place: Any) -> None:
    matrices = place(pack_delta((torch.full((1, 4, 1), value), torch.ones(1, 1, 9))))
    found = quantiles(matrices, "triton")
    assert (found.values == value).all() and found.trimmed_mean.item() == value
    assert not any(each.any() for each in (found.median_deviation, *found[3:]))
