from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from wsa.errors import WsaError
from wsa.train import ORDINAL, REGRESSION, Goal, Run, Split
from wsa.train.heads import FITS, fit_head, known_head

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]

RUNS = [Run(0), Run(1), Run(0, shuffled=True)]


@pytest.mark.parametrize("head", FITS)
def test_a_head_finds_planted_classes_and_no_shuffled_ones(
    planted: Planted, plain_split: PlainSplit, head: str
) -> None:
    outcome = fit_head(head, *planted(200), plain_split(200), RUNS, 4)
    *seeds, control = (run["test"]["accuracy"] for run in outcome.runs)
    assert min(seeds) > 0.8
    assert control < 0.5
    assert outcome.probabilities["test"].sum(-1) == pytest.approx(1)


@pytest.mark.parametrize("head", FITS)
def test_a_head_finds_a_planted_number(
    planted: Planted, plain_split: PlainSplit, head: str
) -> None:
    features, _ = planted(200)
    labels = (7 + 3 * features[:, 0]).double()
    outcome = fit_head(head, features, labels, plain_split(200), RUNS, Goal(REGRESSION))
    assert outcome.runs[0]["test"]["r2"] > 0.3
    assert outcome.runs[2]["test"]["r2"] < 0.2


@pytest.mark.parametrize("head", FITS)
@pytest.mark.parametrize(("offset", "unit"), [(1.7e9, 1.0), (0.0, 1e-25)])
def test_a_number_is_found_in_any_unit_and_from_any_origin(
    planted: Planted, plain_split: PlainSplit, head: str, offset: float, unit: float
) -> None:
    features, _ = planted(200)
    labels = (7 + 3 * features[:, 0]).double()
    plain, other = (
        fit_head(head, features, each, plain_split(200), RUNS, Goal(REGRESSION))
        for each in (labels, offset + unit * labels)
    )
    assert other.runs[0]["test"]["r2"] == pytest.approx(plain.runs[0]["test"]["r2"], abs=1e-4)


def test_the_test_part_has_no_say_in_what_a_head_chooses(
    planted: Planted, plain_split: PlainSplit
) -> None:
    features, labels = planted(200)
    split = plain_split(200)
    for head in FITS:
        first = fit_head(head, features, labels, split, RUNS, Goal(ORDINAL, 4))
        spoilt = labels.clone()
        spoilt[split.test] = 0
        second = fit_head(head, features, spoilt, split, RUNS, Goal(ORDINAL, 4))
        assert [run["chosen"] for run in first.runs] == [run["chosen"] for run in second.runs]
        assert first.runs[0]["val"] == second.runs[0]["val"]


def test_a_seed_draws_something_only_where_there_is_something_to_draw(
    planted: Planted, plain_split: PlainSplit
) -> None:
    features, labels = planted(200, signal=0.3)
    same = {}
    for head in FITS:
        chances = fit_head(head, features, labels, plain_split(200), RUNS, 4).probabilities["test"]
        same[head] = np.array_equal(chances[0], chances[1])
    assert same == {"linear": True, "knn": True, "gbm": False}


def test_the_number_of_threads_changes_no_bit(planted: Planted, plain_split: PlainSplit) -> None:
    features, labels = planted(200)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        outcome = fit_head("gbm", features, labels, plain_split(200), RUNS, 4)
        found.append(outcome.probabilities["test"].tobytes())
    assert found[0] == found[1]


def test_a_head_reads_only_its_own_columns(planted: Planted, plain_split: PlainSplit) -> None:
    features, labels = planted(200)
    packed = fit_head(
        "knn", features, labels, plain_split(200), RUNS[:2], 4, columns=[[0, 1], [2, 3, 4]]
    )
    alone = fit_head("knn", features[:, :2], labels, plain_split(200), RUNS[:1], 4)
    assert packed.runs[0]["test"] == alone.runs[0]["test"]


def test_an_unknown_head_names_the_known_ones() -> None:
    with pytest.raises(WsaError, match="no head called 'xgb'; known: mlp, linear, knn, gbm"):
        known_head("xgb")
