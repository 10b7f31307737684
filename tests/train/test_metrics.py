from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as oracle
from torchmetrics.functional.classification import multiclass_calibration_error

from wsa.train import Split, majority, summarise
from wsa.train.metrics import expected_calibration_error, measure, roc_auc_ovr


def guessed(n: int = 200, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    chances = draw.dirichlet(np.ones(classes), n) + 0.1 * np.eye(classes)[labels]
    return labels, chances / chances.sum(1, keepdims=True)


def test_every_metric_is_that_of_scikit_learn() -> None:
    labels, chances = guessed()
    found, guesses = measure(labels, chances), chances.argmax(1)
    expected = {
        "accuracy": oracle.accuracy_score(labels, guesses),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, guesses),
        "top3_accuracy": oracle.top_k_accuracy_score(labels, chances, k=3),
        "nll": oracle.log_loss(labels, chances),
        "roc_auc_ovr": oracle.roc_auc_score(labels, chances, multi_class="ovr"),
        "mcc": oracle.matthews_corrcoef(labels, guesses),
        "ece": expected_calibration_error(labels, chances),
    }
    for average in ("macro", "weighted"):
        expected[f"precision_{average}"] = oracle.precision_score(labels, guesses, average=average)
        expected[f"recall_{average}"] = oracle.recall_score(labels, guesses, average=average)
        expected[f"f1_{average}"] = oracle.f1_score(labels, guesses, average=average)
    assert found.pop("confusion") == oracle.confusion_matrix(labels, guesses).tolist()
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_roc_auc_counts_ties_as_scikit_learn_does(classes: int) -> None:
    labels, chances = guessed(60, classes)
    tied = np.round(chances, 1)
    areas = [oracle.roc_auc_score(labels == k, tied[:, k]) for k in range(classes)]
    assert roc_auc_ovr(labels, tied) == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_is_that_of_torchmetrics(seed: int) -> None:
    labels, chances = guessed(300, 4, seed)
    expected = multiclass_calibration_error(
        torch.tensor(chances), torch.tensor(labels), num_classes=4, n_bins=15
    )
    assert expected_calibration_error(labels, chances) == pytest.approx(expected.item(), abs=1e-6)


def test_full_confidence_has_a_bin() -> None:
    labels = np.array([0, 1, 1, 0])
    assert expected_calibration_error(labels, np.eye(2)[[0, 1, 0, 0]]) == pytest.approx(0.25)


def test_top_three_of_three_classes_is_one_by_definition() -> None:
    assert measure(*guessed(30, 3))["top3_accuracy"] == 1.0
    assert measure(*guessed(200, 10))["top3_accuracy"] < 1.0


@pytest.mark.parametrize("labels", [[0], [1, 1, 1], [0, 2, 2, 0]], ids=str)
def test_a_part_without_every_class_gives_finite_numbers_or_none(labels: list[int]) -> None:
    chances = np.tile([1.0, 0.0, 0.0, 0.0], (len(labels), 1))
    found = measure(np.array(labels), chances)
    assert found["roc_auc_ovr"] is None
    json.dumps(found, allow_nan=False)


def test_majority_is_the_test_share_of_the_commonest_training_class() -> None:
    labels = np.array([0, 1, 1, 0, 0, 1, 0, 0])
    split = Split(np.array([0, 0, 0, 1, 2, 2, 2, 2], dtype=np.int8))
    assert majority(labels, split) == 0.25


def test_summary_is_the_t_interval_of_the_mean() -> None:
    values = [0.5, 0.7, 0.6, 0.9]
    found: dict[str, Any] = summarise(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found["mean"], found["std"]) == pytest.approx((0.675, np.std(values, ddof=1)))
    assert (found["low"], found["high"]) == pytest.approx((low, high))


def test_one_seed_has_no_interval() -> None:
    assert summarise([0.5]) == {"mean": 0.5, "std": 0.0, "low": None, "high": None}
    assert summarise([0.5, 0.5]) == {"mean": 0.5, "std": 0.0, "low": 0.5, "high": 0.5}
