from __future__ import annotations

import re
import sys
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from tests.bench.conftest import Bench

from wsa import Setting
from wsa_bench import train as training


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> training.Task:
    monkeypatch.setattr(training, "EPOCHS", 6)
    monkeypatch.setattr(training, "SEEDS", 2)
    monkeypatch.setitem(training.APART, 64, 8.0)  # learnt in six epochs
    training.planted.cache_clear()
    return training.planted(64, 16, Setting(400))


def test_packed_seeds_reach_what_seeds_one_by_one_reach(task: training.Task) -> None:
    truth = training.nearest_centre(task)["accuracy"]
    contenders = (training.packed, partial(training.sequential, compiled=False))
    packed, eager = (contender(task)["accuracy"] for contender in contenders)
    torch.testing.assert_close(packed, eager, rtol=0, atol=0.02)
    assert truth.item() > 0.95
    assert packed.item() > 2 / training.CLASSES  # after six epochs


def test_scikit_learns_classifier_trains_on_the_same_rows(task: training.Task) -> None:
    found = training.scikit_learn(task)["accuracy"]
    assert found.shape == (1,)
    assert found.item() > 0.3


class Peer:
    """What pytabkit's classifier is called with; it takes everything for the first class."""

    told: ClassVar[list[tuple[dict[str, Any], list[int]]]] = []

    def __init__(self, **knobs: Any) -> None:
        self.knobs = knobs

    def fit(self, *given: Any) -> None:
        self.told.append((self.knobs, [len(each) for each in given]))

    def score(self, values: Any, labels: Any) -> float:
        return float((labels == 0).mean())


def test_realmlp_trains_as_wide_and_as_long_on_the_same_rows(
    task: training.Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = ModuleType("pytabkit")
    vars(peer)["RealMLP_TD_Classifier"] = Peer
    monkeypatch.setitem(sys.modules, "pytabkit", peer)
    assert training.real_mlp(task)["accuracy"].item() == pytest.approx(0.1)
    assert [knobs["random_state"] for knobs, _ in Peer.told] == [0, 1]
    knobs, given = Peer.told[0]
    assert (knobs["n_epochs"], knobs["hidden_sizes"], knobs["batch_size"]) == (6, [16, 8], 64)
    parts = (task.split.train, task.split.val)
    assert given == [len(rows) for rows in parts for _ in ("values", "labels")]


def test_accuracies_are_told_of_every_contender(
    task: training.Task,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(training, "SEEDS", 1)
    quick = ("--seconds", "0.01", "--adapters", "400", "--backend", "packed,sklearn,realmlp")
    assert bench("train/small", *quick) == 0
    told = capsys.readouterr()
    pattern = r"accuracy: packed [01]\.\d+ in [\d.]+ \w+, sklearn [01]\.\d+ in [\d.]+ \w+"
    assert re.search(pattern, told.out)
    if find_spec("pytabkit") is None:
        assert "left out, as it needs the package pytabkit: train/small realmlp" in told.err


def test_packing_has_its_targets(task: training.Task) -> None:
    small, wide = training.cases()
    for case, on_cpu in ((small, 2.0), (wide, 0.9)):
        assert [(each.over, each.device, each.adapters, each.times) for each in case.targets] == [
            ("eager", "cpu", 0, on_cpu),
            ("eager", "cuda", 0, 10.0),
            ("eager", "cuda", 10_000, 20.0),
        ]
    assert small.on_request
