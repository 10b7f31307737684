from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from wsa_kernels.fine_histogram import BINS, FineHistogram, fine_range
from wsa_kernels.quantiles import WIDTHS, Quantiles, from_counts, quantiles

Draw = Callable[..., Tensor]


def histogram_of(entries: Tensor) -> FineHistogram:
    exact = entries.double()
    std = torch.zeros(len(exact)).double() if exact.shape[1] == 1 else exact.std(-1)
    low, high = fine_range(exact.amin(-1), exact.amax(-1), exact.mean(-1), std)
    spread = (high - low).masked_fill(high == low, 1.0)
    bins = ((entries - low[:, None]) * (BINS / spread)[:, None]).clamp(0, BINS - 1).long()
    counts = torch.stack([torch.bincount(row, minlength=BINS) for row in bins])
    return FineHistogram(counts, low.double(), high.double(), exact.abs().sum(-1), std)


def both(entries: Tensor, pack_factors: Any) -> tuple[Quantiles, Quantiles]:
    found = Quantiles(
        *(
            field.squeeze(-1) if field.shape[-1] == 1 else field
            for field in torch.split(from_counts(histogram_of(entries)), list(WIDTHS), -1)
        )
    )
    exact = quantiles(pack_factors(entries.double().unsqueeze(1)), "reference")
    return found, Quantiles(*(each[:, 0] for each in exact))


FAMILIES: dict[str, Callable[[Draw], Tensor]] = {
    "normal": lambda draw: draw(2, 40_000),
    "product": lambda draw: (draw(2, 200, 1) * draw(2, 1, 200, seed=1)).flatten(1),
    "positive": lambda draw: draw(2, 40_000).abs() + 0.5,
    "negative and far off": lambda draw: -draw(2, 40_000).abs() - 50,
    "few": lambda draw: draw(2, 12),
    "one in four is zero": lambda draw: torch.cat([draw(2, 30_000), torch.zeros(2, 10_000)], -1),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_order_statistics_are_within_a_thousandth_of_the_spread(
    family: str, random_matrices: Any, pack_factors: Any
) -> None:
    entries = FAMILIES[family](random_matrices)
    found, wanted = both(entries, pack_factors)
    spread = entries.double().std(-1)
    for name in ("values", "median_deviation", "trimmed_mean", "iqr"):
        off = (getattr(found, name) - getattr(wanted, name)).abs().amax() / spread.amin()
        assert off <= 1e-3, f"{name} is off by {off:.1e}"


@pytest.mark.parametrize("family", FAMILIES)
def test_shape_and_entropy_follow_from_them(
    family: str, random_matrices: Any, pack_factors: Any
) -> None:
    found, wanted = both(FAMILIES[family](random_matrices), pack_factors)
    for name in ("bowley", "moors", "gini", "differential"):
        off = (getattr(found, name) - getattr(wanted, name)).abs().amax()
        assert off <= 1e-2, f"{name} is off by {off:.1e}"


def test_sizes_beyond_the_bins_count_in_the_gini_coefficient(
    random_matrices: Any, pack_factors: Any
) -> None:
    entries = torch.cat([random_matrices(2, 40_000), torch.full((2, 3), 500.0)], -1)
    found, wanted = both(entries, pack_factors)
    assert (found.gini - wanted.gini).abs().amax() <= 1e-3


@pytest.mark.parametrize("value", [0.0, -0.3])
def test_a_constant_layer_is_at_its_value(value: float) -> None:
    found = from_counts(histogram_of(torch.full((2, 9), value)))
    at = torch.full((2,), value).double()
    assert torch.equal(found[:, 6], at) and torch.equal(found[:, 14], at)
    assert not found[:, 15:].any() and not found[:, 13].any()
