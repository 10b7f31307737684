from __future__ import annotations

from typing import Any

import pytest
import torch

from wsa.bench.agreement import Disagreement, greatest_error, refuse_hollow

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


@pytest.mark.parametrize(
    ("truth", "problem"),
    [
        ({"mean": torch.tensor([float("nan"), 1.0])}, "mean has 1 values that are not finite"),
        ({"mean": torch.tensor([1.0, float("inf")])}, "mean has 1 values that are not finite"),
        ({"mean": torch.zeros(0, 3)}, r"mean needs values, got \[0, 3\]"),
        ({"mean": [1.0]}, "mean needs values, got list"),
        ({}, "needs tensors by name, got dict of none"),
        (None, "needs tensors by name, got NoneType"),
        (torch.ones(2), r"needs tensors by name, got \[2\]"),
    ],
)
def test_a_truth_that_judges_nothing_is_refused(truth: Any, problem: str) -> None:
    with pytest.raises(Disagreement, match=f"the truth (of )?{problem}"):
        refuse_hollow(truth)


def test_a_truth_of_numbers_is_not_refused() -> None:
    refuse_hollow(TRUTH | {"count": torch.tensor(3)})


def test_a_tolerance_that_is_nan_lets_nothing_pass() -> None:
    with pytest.raises(Disagreement, match="mean is off by 0 of"):
        greatest_error(answer(), TRUTH, {"": float("nan")})


def test_the_imaginary_part_is_held_to_the_truth_too() -> None:
    truth = {"z": torch.tensor([3 + 4j], dtype=torch.complex128)}
    assert greatest_error({"z": torch.tensor([3 + 4j])}, truth, {"": 0.0}) == 0
    with pytest.raises(Disagreement, match=r"z is off by 0\.25"):
        greatest_error({"z": torch.tensor([3 + 5j])}, truth, {"": 0.1})
    with pytest.raises(Disagreement, match=r"z needs torch\.complex128, got torch\.float32"):
        greatest_error({"z": torch.tensor([3.0])}, truth, {"": 0.1})
