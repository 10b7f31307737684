from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as oracle
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_specificity,
)

from wsa.train import Split, majority, summarise
from wsa.train.calibration import expected_calibration_error
from wsa.train.metrics import measure
from wsa.train.per_class import roc_areas


def guessed(n: int = 200, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    chances = draw.dirichlet(np.ones(classes), n) + 0.1 * np.eye(classes)[labels]
    return labels, chances / chances.sum(1, keepdims=True)


def test_metrics_are_those_of_scikit_learn() -> None:
    labels, chances = guessed()
    found, guesses = measure(labels, chances), chances.argmax(1)
    ranking = np.eye(5)[labels]
    expected = {
        "accuracy": oracle.accuracy_score(labels, guesses),
        "error": oracle.zero_one_loss(labels, guesses),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, guesses),
        "balanced_accuracy_adjusted": oracle.balanced_accuracy_score(
            labels, guesses, adjusted=True
        ),
        "kappa": oracle.cohen_kappa_score(labels, guesses),
        "mcc": oracle.matthews_corrcoef(labels, guesses),
        "mutual_information": oracle.mutual_info_score(labels, guesses),
        "uncertainty_explained": oracle.homogeneity_score(labels, guesses),
        "top2_accuracy": oracle.top_k_accuracy_score(labels, chances, k=2),
        "top3_accuracy": oracle.top_k_accuracy_score(labels, chances, k=3),
        "nll": oracle.log_loss(labels, chances),
        "nll_skill": oracle.d2_log_loss_score(labels, chances),
        "roc_auc_ovr": oracle.roc_auc_score(labels, chances, multi_class="ovr"),
        "roc_auc_weighted": oracle.roc_auc_score(
            labels, chances, multi_class="ovr", average="weighted"
        ),
        "rank_mean": oracle.coverage_error(ranking, chances),
        "reciprocal_rank": oracle.label_ranking_average_precision_score(ranking, chances),
        "ranking_loss": oracle.label_ranking_loss(ranking, chances),
        "ece": expected_calibration_error(labels, chances),
    }
    for average in ("macro", "weighted"):
        for name in ("precision", "recall", "f1", "jaccard"):
            measured = getattr(oracle, f"{name}_score")(labels, guesses, average=average)
            expected[f"{name}_{average}"] = measured
        areas = oracle.average_precision_score(ranking, chances, average=average)
        expected[f"average_precision_{average}"] = areas
    assert found["confusion"] == oracle.confusion_matrix(labels, guesses).tolist()
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def test_scores_of_each_class_are_those_of_scikit_learn() -> None:
    labels, chances = guessed(classes=4)
    chances = np.round(chances, 1)  # equally likely adapters are taken at once
    found, guesses = measure(labels, chances)["per_class"], chances.argmax(1)
    columns = oracle.precision_recall_fscore_support(labels, guesses)
    for name, expected in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        assert found[name] == pytest.approx(expected)
    assert found["jaccard"] == pytest.approx(oracle.jaccard_score(labels, guesses, average=None))
    for k in range(4):
        mine, chance = labels == k, chances[:, k]
        assert found["average_precision"][k] == pytest.approx(
            oracle.average_precision_score(mine, chance)
        )
        expected = oracle.recall_score(~mine, guesses != k)
        assert found["specificity"][k] == pytest.approx(expected)


def test_brier_and_specificity_are_those_of_torchmetrics_and_scikit_learn() -> None:
    labels, chances = guessed()
    found = measure(labels, chances)
    assert found["brier"] == pytest.approx(
        oracle.brier_score_loss(labels, chances, scale_by_half=False)
    )
    specificity = multiclass_specificity(
        torch.tensor(chances), torch.tensor(labels), num_classes=5, average="macro"
    )
    assert found["specificity_macro"] == pytest.approx(specificity.item(), rel=1e-6)


def test_the_largest_gap_is_that_of_torchmetrics() -> None:
    labels, chances = guessed(300, 4)
    expected = multiclass_calibration_error(
        torch.tensor(chances), torch.tensor(labels), num_classes=4, n_bins=15, norm="max"
    )
    assert measure(labels, chances)["mce"] == pytest.approx(expected.item(), abs=1e-6)


def test_a_seed_and_split_have_at_least_sixty_numbers() -> None:
    found = measure(*guessed(60, 2))
    each = sum(len(values) for values in found["per_class"].values())
    single = sum(isinstance(value, float) for value in found.values())
    assert single >= 60
    assert single + each >= 80


def test_adapters_taken_surest_first_err_least() -> None:
    labels, chances = guessed(2000, 3)
    found = measure(labels, chances)
    surest = [found[f"accuracy_surest_{share}"] for share in (50, 80, 90)]
    assert surest == sorted(surest, reverse=True)
    assert surest[-1] > found["accuracy"]
    assert 0 < found["risk_coverage_area"] < found["error"]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_roc_auc_counts_ties_as_scikit_learn_does(classes: int) -> None:
    labels, chances = guessed(60, classes)
    tied = np.round(chances, 1)
    areas = [oracle.roc_auc_score(labels == k, tied[:, k]) for k in range(classes)]
    assert roc_areas(labels, tied) == pytest.approx(areas)


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
