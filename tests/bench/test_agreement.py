from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa.bench.agreement import Disagreement, greatest_error

TRUTH = {"mean": torch.tensor([1.0, -4.0]).double(), "std": torch.tensor([[1.0], [2.0]]).double()}


def answer(**change: Any) -> dict[str, Any]:
    return {name: values.float() for name, values in TRUTH.items()} | change


def test_the_error_is_relative_to_the_greatest_true_value_of_its_name() -> None:
    off = answer(mean=torch.tensor([1.2, -4.0]))
    assert greatest_error(off, TRUTH, {"": 0.1}) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (answer(mean=torch.tensor([1.0, -4.5])), "mean is off by 0.12"),
        (answer(std=torch.tensor([[1.0], [float("nan")]])), "std has 1 values that are not finite"),
        (answer(std=torch.tensor([[1.0], [float("inf")]])), "std has 1 values that are not finite"),
        (answer(std=torch.tensor([1.0, 2.0])), r"std needs shape \[2, 1\], got \[2\]"),
        (answer(std=[1.0, 2.0]), "std needs shape .* got list"),
        ({"mean": torch.zeros(2)}, "names missing: std; unknown: none"),
        (answer(extra=torch.zeros(2)), "names missing: none; unknown: extra"),
        (torch.zeros(2), "needed tensors by name, got Tensor"),
    ],
)
def test_a_disagreement_says_what_is_wrong(found: Any, problem: str) -> None:
    with pytest.raises(Disagreement, match=problem):
        greatest_error(found, TRUTH, {"": 0.1})


def test_a_name_of_its_own_tolerance_is_held_to_that() -> None:
    off = answer(std=torch.tensor([[1.0], [2.1]]))
    assert greatest_error(off, TRUTH, {"": 0.0, "std": 0.06}) == pytest.approx(0.05)
    with pytest.raises(Disagreement, match=r"std is off .*; 0.01 is allowed"):
        greatest_error(off, TRUTH, {"": 1.0, "std": 0.01})


def test_a_truth_that_is_not_finite_agrees_with_nobody() -> None:
    truth = TRUTH | {"mean": torch.tensor([float("nan"), 1.0])}
    with pytest.raises(Disagreement, match="the truth of mean has 1 values that are not finite"):
        greatest_error(answer(), truth, {"": 1.0})
