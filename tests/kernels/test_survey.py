from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from wsa_kernels import survey
from wsa_kernels.absolute_sums import absolute_sums
from wsa_kernels.extrema import extrema
from wsa_kernels.histogram import histogram
from wsa_kernels.matrices import Delta
from wsa_kernels.moments import moments
from wsa_kernels.quantiles import quantiles

OPERATIONS = (absolute_sums, extrema, histogram, moments, quantiles)
# out and in of updates above the most entries that are sorted, but for the last
SHAPES = [(400, 350, 1), (400, 350, 3), (1, 140_001, 1), (370, 360, 8), (20, 30, 3)]
Change = Callable[[Tensor], Tensor]
FAMILIES: dict[str, Change] = {
    "normal": lambda up: up,
    "heavy": lambda up: up**5,
    "far off": lambda up: up + 300,
    "tiny": lambda up: up * 1e-18,
}


def updates(random_matrices: Any, pack_delta: Any, change: Change, count: int = 2) -> Delta:
    modules = [
        (change(random_matrices(count, out, rank, seed=m)), random_matrices(count, rank, into) + 1)
        for m, (out, into, rank) in enumerate(SHAPES)
    ]
    scale = random_matrices(count, len(SHAPES), seed=9)
    found: Delta = pack_delta(*modules, scale=scale)
    return found


def exact(matrices: Delta) -> Delta:
    return Delta(matrices.flat.double(), matrices.layout, matrices.scale.double())


@pytest.fixture(params=FAMILIES)
def both(request: Any, random_matrices: Any, pack_delta: Any) -> tuple[Delta, Delta]:
    matrices = updates(random_matrices, pack_delta, FAMILIES[request.param])
    return matrices, exact(matrices)


def off(found: Tensor, wanted: Tensor, unit: Tensor | float) -> float:
    return float(((found.double() - wanted).abs() / unit).max())


def test_moments_and_norms_of_a_large_update_are_as_exact_as_any(
    both: tuple[Delta, Delta],
) -> None:
    for operation in (absolute_sums, extrema, moments):
        for name, found, wanted in zip(
            operation(both[0])._fields, operation(both[0]), operation(both[1]), strict=True
        ):
            tolerance = 2e-5 if name in ("skewness", "kurtosis") else 1e-6
            assert off(found, wanted, wanted.abs().amax(0)) <= tolerance, name


def test_counts_of_a_surveyed_update_are_exact(both: tuple[Delta, Delta]) -> None:
    found, wanted = (histogram(each) for each in both)
    sizes = torch.tensor([rows * cols for rows, cols, _ in SHAPES]).double()
    # an entry on an edge, as float32 rounds it, may lie on either side
    assert off(found.z * sizes[:, None], wanted.z * sizes[:, None], 1.0) <= 2.01
    for name in ("tail_2", "tail_3", "near_zero"):
        assert off(getattr(found, name) * sizes, getattr(wanted, name) * sizes, 1.0) <= 2.01, name
    for name in ("entropy", "entropy_z", "kl_normal"):
        assert off(getattr(found, name), getattr(wanted, name), 1.0) <= 1e-4, name
    assert (
        off(found.absolute_deviation, wanted.absolute_deviation, wanted.absolute_deviation) < 1e-6
    )


def test_order_statistics_of_a_surveyed_update_are_within_a_thousandth_of_its_spread(
    both: tuple[Delta, Delta],
) -> None:
    (found, wanted), std = (quantiles(each) for each in both), moments(both[1]).std
    assert off(found.values, wanted.values, std.unsqueeze(-1)) <= 1e-3
    for name in ("median_deviation", "trimmed_mean", "iqr"):
        assert off(getattr(found, name), getattr(wanted, name), std) <= 1e-3, name
    assert off(found.gini, wanted.gini, 1.0) <= 2e-3
    assert off(found.differential, wanted.differential, 1.0) <= 2e-2


def test_the_bytes_of_a_surveyed_update_do_not_depend_on_the_shard(
    random_matrices: Any, pack_delta: Any
) -> None:
    whole = updates(random_matrices, pack_delta, FAMILIES["normal"], 3)
    alone = Delta(whole.flat[1:2].clone(), whole.layout, whole.scale[1:2])
    for operation in OPERATIONS:
        for one, all_of_them in zip(operation(alone), operation(whole), strict=True):
            assert torch.equal(one, all_of_them[1:2])


def test_large_updates_are_traversed_once_for_all_operations(
    random_matrices: Any, pack_delta: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed = Mock(wraps=survey._survey)
    monkeypatch.setattr(survey, "_survey", surveyed)
    matrices = updates(random_matrices, pack_delta, FAMILIES["normal"])
    for operation in OPERATIONS:
        operation(matrices)
    assert surveyed.call_count == 2 * (len(SHAPES) - 1)


def test_an_update_with_too_many_entries_in_one_bin_is_sorted(
    random_matrices: Any, pack_delta: Any
) -> None:
    up, down = random_matrices(1, 400, 2), random_matrices(1, 2, 400)
    up[:, :40] = 0
    matrices = pack_delta((up, down))
    found, wanted = quantiles(matrices), quantiles(exact(matrices))
    assert off(found.differential, wanted.differential, 1.0) <= 1e-5
    assert off(found.gini, wanted.gini, 1.0) <= 1e-5


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_constant_update_has_a_mean_and_nothing_else(value: float, pack_delta: Any) -> None:
    matrices = pack_delta((torch.full((1, 400, 2), value), torch.ones(1, 2, 400)))
    found = quantiles(matrices)
    assert torch.equal(found.values, torch.full_like(found.values, 2 * value))
    assert (moments(matrices).mean == 2 * value).all()
    assert not any(each.any() for each in (*moments(matrices)[1:], *histogram(matrices)))
    assert not any(each.any() for each in (found.median_deviation, found.iqr, found.differential))
