from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from wsa.bench.fingerprint import fingerprint, sums


@dataclass
class Held:
    """Inputs as a plugin may hold them."""

    weights: torch.Tensor
    more: dict[str, Any]
    remembered: dict[str, torch.Tensor] = field(default_factory=dict, compare=False)


def held() -> Held:
    numbers = np.arange(3.0)
    half = torch.arange(6.0).bfloat16().view(2, 3)
    return Held(torch.arange(12.0).view(3, 4), {"array": numbers, "list": [half, "name", 1]})


def test_equal_inputs_have_equal_fingerprints() -> None:
    assert fingerprint(held()) == fingerprint(held())


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.weights.neg_(),
        lambda it: it.weights.numpy()[0].sort() or it.weights[0].copy_(it.weights[0].flip(0)),
        lambda it: it.weights.t_(),
        lambda it: it.more["array"].__setitem__(0, 9.0),
        lambda it: it.more["list"][0].zero_(),
        lambda it: it.more["list"].append(2),
        lambda it: it.more.pop("array"),
        lambda it: setattr(it, "weights", it.weights.double()),
    ],
)
def test_whatever_is_changed_shows(change: Callable[[Held], Any]) -> None:
    given = held()
    before = fingerprint(given)
    change(given)
    assert fingerprint(given) != before


def test_what_a_dataclass_remembers_is_no_change() -> None:
    given = held()
    before = fingerprint(given)
    given.remembered["sum"] = given.weights.sum()
    assert fingerprint(given) == before


def test_tensors_of_every_kind_have_one() -> None:
    kinds = [
        torch.tensor(True),
        torch.zeros(0),
        torch.ones(2, 3)[:, 1],
        torch.eye(2).to_sparse(),
        torch.tensor([1j]),
        torch.ones(3, requires_grad=True),
    ]
    assert len({fingerprint(each) for each in kinds}) == len(kinds)


def test_on_a_device_a_change_and_a_permutation_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsa.bench.fingerprint.RUN", 4)
    values = torch.arange(10, dtype=torch.uint8)
    changed = values.clone()
    changed[7] += 1
    assert len({sums(values), sums(changed), sums(values.flip(0))}) == 3
    assert sums(values) == sums(values.clone())
