from __future__ import annotations

from functools import partial

import pytest
import torch

from wsa import Setting
from wsa_bench import train as training


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> training.Task:
    monkeypatch.setattr(training, "EPOCHS", 6)
    monkeypatch.setattr(training, "SEEDS", 2)
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


def test_packing_has_its_targets(task: training.Task) -> None:
    small, wide = training.cases()
    assert [(each.over, each.times) for each in small.targets + wide.targets] == [
        ("eager", 2.0),
        ("eager", 0.9),
    ]
    assert small.on_request
