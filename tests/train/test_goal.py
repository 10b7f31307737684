from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from torch import Tensor

from wsa.errors import WsaError
from wsa.train import CLASSES, ORDINAL, REGRESSION, Goal, Run, Split, TrainConfig, train
from wsa.train.levels import measure_levels
from wsa.train.scores import per_adapter, primary_score, score

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]

RUNS = [Run(0), Run(1), Run(0, shuffled=True)]


def planted_numbers(adapters: int = 300) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    features = torch.randn(adapters, 6, generator=source)
    return features, (1e3 + 50 * features[:, 0] + 20 * features[:, 1]).double()


def test_a_planted_number_is_found_and_shuffled_ones_are_not(plain_split: PlainSplit) -> None:
    features, labels = planted_numbers()
    config = TrainConfig(hidden_dim=64, dropout=0.0, max_epochs=100)
    outcome = train(features, labels, plain_split(300), RUNS, Goal(REGRESSION), config)
    *seeds, control = (run["test"] for run in outcome.runs)
    assert min(seed["r2"] for seed in seeds) > 0.95
    assert max(seed["mae"] for seed in seeds) < 15
    assert control["r2"] < 0.2


def test_the_unit_of_a_number_changes_nothing_but_the_unit(
    plain_split: PlainSplit, small_config: SmallConfig
) -> None:
    features, labels = planted_numbers(80)
    split, goal = plain_split(80), Goal(REGRESSION)
    one, other = (
        train(features, unit * labels, split, RUNS, goal, small_config()).runs[0]["test"]
        for unit in (1.0, 1024.0)
    )
    assert other["r2"] == pytest.approx(one["r2"], rel=1e-6)
    assert other["mae"] == pytest.approx(1024 * one["mae"], rel=1e-6)


def test_levels_in_order_are_learnt_and_their_chances_are_chances(
    plain_split: PlainSplit,
) -> None:
    features, numbers = planted_numbers()
    labels = torch.bucketize(numbers, torch.quantile(numbers, torch.tensor([0.3, 0.7]).double()))
    config = TrainConfig(hidden_dim=64, max_epochs=60)
    outcome = train(features, labels, plain_split(300), RUNS, Goal(ORDINAL, 3), config)
    chances = outcome.probabilities["test"]
    assert chances.min() >= 0
    assert chances.sum(-1) == pytest.approx(1)
    assert outcome.runs[0]["test"]["kappa_quadratic"] > 0.7
    assert outcome.runs[2]["test"]["kappa_quadratic"] < 0.5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_prediction_that_overflowed_has_errors_that_are_numbers(bad: float) -> None:
    outputs = torch.zeros(1, 20, 1)
    outputs[0, 3] = bad
    goal, truth = Goal(REGRESSION, 1, 5.0, 2.0), np.arange(20.0)
    answers = goal.answers(outputs)
    found = [score(goal, truth, answers[0]), primary_score(goal, truth, answers[0])]
    json.dumps([*found, per_adapter(goal, truth, answers).tolist()], allow_nan=False)
    assert answers[0, 0] == 5
    assert found[1]["r2"] < -1e70


def test_quadratic_kappa_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    labels, chances = np.arange(100) % 4, draw.dirichlet(np.ones(4), 100)
    guesses = chances.argmax(1)
    found = measure_levels(labels, chances)
    expected = oracle.cohen_kappa_score(labels, guesses, weights="quadratic")
    assert found["kappa_quadratic"] == pytest.approx(expected)
    assert found["level_mae"] == pytest.approx(oracle.mean_absolute_error(labels, guesses))
    assert found["accuracy"] == oracle.accuracy_score(labels, guesses)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda labels: 0 * labels, "all 80 are 0"), (lambda labels: labels / 0, "must be finite")],
    ids=["all equal", "not finite"],
)
def test_numbers_that_cannot_be_learnt_are_refused(
    plain_split: PlainSplit,
    small_config: SmallConfig,
    spoil: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    features, labels = planted_numbers(80)
    with pytest.raises(WsaError, match=message):
        train(features, spoil(labels), plain_split(80), RUNS, Goal(REGRESSION), small_config())


@pytest.mark.parametrize("kind", [CLASSES, ORDINAL, REGRESSION])
def test_the_primary_score_alone_is_that_among_all(kind: str) -> None:
    draw = np.random.default_rng(0)
    levels, chances, goal = np.arange(90) % 3, draw.dirichlet(np.ones(3), 90), Goal(kind, 3)
    numbers = draw.normal(size=(2, 90))
    truth, answers = numbers if kind == REGRESSION else (levels, chances)
    alone = primary_score(goal, truth, answers)
    assert alone[goal.primary] == pytest.approx(score(goal, truth, answers)[goal.primary])
