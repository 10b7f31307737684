from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wsa.errors import WsaError
from wsa.train import Outcome, Run, Split, TrainConfig, make_split, train

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]


def learn(features: Tensor, labels: Tensor, config: TrainConfig) -> Outcome:
    codes = labels.numpy()
    digests = [str(row) for row in range(len(codes))]
    split = make_split(codes, None, digests, np.ones(len(codes), dtype=bool))
    runs = [Run(0), Run(1), Run(0, shuffled=True)]
    return train(features, labels, split, runs, int(codes.max()) + 1, config)


def test_easy_classes_are_learnt_and_shuffled_labels_are_not(planted: Planted) -> None:
    features, labels = planted(adapters=400, columns=40, classes=10)
    outcome = learn(features, labels, TrainConfig(hidden_dim=64, max_epochs=40))
    *seeds, control = (run["test"]["accuracy"] for run in outcome.runs)
    assert min(seeds) > 0.97
    assert control < 0.25


def test_an_outcome_tells_everything_and_is_json(
    planted: Planted, small_config: SmallConfig
) -> None:
    features, labels = planted(adapters=100)
    features[:, 3] = 7.0
    outcome = learn(features, labels, small_config())
    assert (outcome.columns_kept, outcome.columns_constant) == (11, 1)
    assert outcome.exact_resume
    assert outcome.warnings == []
    assert [(run["seed"], run["shuffled"]) for run in outcome.runs] == [
        (0, False),
        (1, False),
        (0, True),
    ]
    assert {"torch", "device", "threads", "amp", "compile"} == outcome.conditions.keys()
    json.dumps(outcome.to_json(), allow_nan=False)


def test_probabilities_are_those_the_metrics_were_made_of(
    planted: Planted, small_config: SmallConfig
) -> None:
    outcome = learn(*planted(adapters=100), small_config())
    for part in ("val", "test"):
        guesses = outcome.probabilities[part].argmax(-1)
        for index, run in enumerate(outcome.runs):
            right = (guesses[index] == outcome.labels[part][index]).mean()
            assert right == pytest.approx(run[part]["accuracy"])
    assert outcome.probabilities["test"].sum(-1) == pytest.approx(1)


def test_the_control_learns_the_same_labels_in_another_order_within_each_part(
    planted: Planted, small_config: SmallConfig
) -> None:
    outcome = learn(*planted(adapters=100), small_config(max_epochs=1))
    for part in ("val", "test"):
        true, second, shuffled = outcome.labels[part].tolist()
        assert true == second != shuffled
        assert sorted(true) == sorted(shuffled)


def test_the_same_training_twice_gives_the_same_bytes(
    planted: Planted, small_config: SmallConfig
) -> None:
    first, second = (learn(*planted(adapters=100), small_config()) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_training_neither_reads_nor_moves_a_global_generator(
    planted: Planted, small_config: SmallConfig
) -> None:
    features, labels = planted(adapters=100)
    learn(features, labels, small_config())  # what it imports may draw, once
    outcomes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        before = repr((torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()))
        outcomes.append(learn(features, labels, small_config()).to_json())
        after = repr((torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()))
        assert before == after
    assert outcomes[0] == outcomes[1]


def test_adapters_outside_the_split_change_nothing(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> None:
    features, labels = planted(adapters=60)
    split, runs = plain_split(60), [Run(0)]
    split.assignment[5] = -1
    first = train(features, labels, split, runs, 4, small_config())
    features[5], labels[5] = float("nan"), 99
    assert train(features, labels, split, runs, 4, small_config()).to_json() == first.to_json()


def test_the_test_part_has_no_say_in_the_weights(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> None:
    features, labels = planted()
    split, runs = plain_split(80), [Run(0)]
    first = train(features, labels, split, runs, 4, small_config())
    features[split.test], labels[split.test] = 1e6, 0
    second = train(features, labels, split, runs, 4, small_config())
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_each_control_has_an_order_of_its_own(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> None:
    runs = [Run(0, shuffled=True), Run(1, shuffled=True)]
    outcome = train(*planted(), plain_split(80), runs, 4, small_config(max_epochs=1))
    first, second = outcome.labels["test"].tolist()
    assert first != second


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(adapters=st.integers(2, 70), batch=st.sampled_from([2, 32, 64]))
def test_any_number_of_adapters_trains(
    planted: Planted,
    plain_split: PlainSplit,
    small_config: SmallConfig,
    adapters: int,
    batch: int,
) -> None:
    features, labels = planted(adapters=adapters + 2, classes=2)
    moved = []
    for epochs in (1, 2):
        config = small_config(batch_size=batch, max_epochs=epochs, learning_rate=0.01)
        outcome = train(features, labels, plain_split(adapters + 2, 1), [Run(0)], 2, config)
        assert outcome.runs[0]["epochs"] == epochs
        moved.append(outcome.runs[0]["train"]["nll"])
    assert outcome.runs[0]["best_epoch"] == 1 or moved[0] != moved[1]


def test_every_epoch_is_reported(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> None:
    seen: list[tuple[int, int]] = []
    train(
        *planted(),
        plain_split(80),
        [Run(0)],
        4,
        small_config(max_epochs=3),
        on_epoch=lambda epoch, last: seen.append((epoch, last)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_half_precision_learns_too(planted: Planted) -> None:
    features, labels = planted(adapters=200, columns=20, signal=2.0)
    outcome = learn(features, labels, TrainConfig(hidden_dim=64, max_epochs=60, amp=True))
    assert outcome.conditions["amp"] == "bfloat16"
    assert outcome.runs[0]["test"]["accuracy"] > 0.9
    assert all(value.dtype == torch.float32 for value in outcome.weights.values())


def test_a_diverged_seed_is_reported_with_finite_numbers(
    planted: Planted, small_config: SmallConfig
) -> None:
    outcome = learn(*planted(adapters=100), small_config(learning_rate=1e38, patience=2))
    assert "seed 0 failed at epoch 1: its loss is no number" in outcome.warnings[0]
    assert outcome.runs[0]["failed_epoch"] == 1
    assert any("no epoch had a finite validation loss" in each for each in outcome.warnings)
    json.dumps(outcome.to_json(), allow_nan=False)


def test_a_network_learns_at_the_rate_that_it_is_given(
    planted: Planted, small_config: SmallConfig
) -> None:
    features, labels = planted(adapters=100)
    slow, fast = (
        learn(features, labels, small_config(learning_rate=rate, weight_decay=0.0, dropout=0.0))
        for rate in (1e-30, 3e-2)
    )
    assert slow.runs[0]["failed_epoch"] is None
    assert fast.runs[0]["train"]["nll"] < 0.5 * slow.runs[0]["train"]["nll"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"runs": []}, "training needs at least one run; got none"),
    ({"goal": 3}, r"labels must lie in 0 .. 2 with at least two classes; got 0 .. 3"),
    ({"labels": torch.zeros(79, dtype=torch.int64)}, "same adapters; got 80, 79 and 80"),
    ({"features": torch.zeros(80, 3, dtype=torch.float64)}, r"got \[80, 3\] torch.float64"),
    ({"features": torch.zeros(80, 3)}, "all 3 columns are constant"),
    ({"features": torch.full((80, 3), float("inf"))}, "adapter 0 in train are not"),
    ({"split": Split(np.full(80, 2, dtype=np.int8))}, "train needs at least 2 adapters; got 0"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_input_that_cannot_be_trained_on_is_refused_in_one_line(
    planted: Planted,
    plain_split: PlainSplit,
    small_config: SmallConfig,
    change: dict[str, Any],
    message: str,
) -> None:
    features, labels = planted()
    arguments: dict[str, Any] = {
        "features": features,
        "labels": labels,
        "split": plain_split(80),
        "runs": [Run(0)],
        "goal": 4,
        "config": small_config(),
    }
    with pytest.raises(WsaError, match=message):
        train(**(arguments | change))
