from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from wsa import Case, Setting
from wsa.bench.agreement import Disagreement
from wsa.bench.clock import Clock, clock_of
from wsa.bench.entry import LEAST_OF_YARDSTICK, LEAST_ROUNDS, LONG, SAMPLE, Entry, Ground, judge
from wsa.bench.plan import Contest

Contender = Callable[[Tensor], dict[str, Tensor]]


def entry_of(contender: Contender, adapters: int = 3, **change: Any) -> Entry:
    case = Case(
        name="doubling",
        inputs=lambda setting: torch.arange(1.0, 1.0 + 4 * setting.adapters).view(-1, 4),
        reference=lambda x: {"twice": 2 * x.double()},
        contenders={"mine": contender},
        shape=lambda x: f"{len(x)}",
        bytes=lambda x: x.nbytes,
        part=lambda x, rows: x[list(rows)],
    )
    return Entry(Contest(replace(case, **change), Setting(adapters), ("mine",)), "mine")


def judged(entry: Entry, clock: Clock | None = None) -> Any:
    return judge(entry, Ground(entry.contest), clock or clock_of("cpu"), 0.01)


def double(x: Tensor) -> dict[str, Tensor]:
    return {"twice": 2 * x}


def test_the_truth_is_computed_for_a_sample_with_the_first_and_the_last() -> None:
    ground = Ground(entry_of(double, adapters=1000).contest)
    assert (len(ground.rows), ground.rows[0], ground.rows[-1]) == (SAMPLE, 0, 999)
    assert ground.truth["twice"].shape == (SAMPLE, 4)
    assert judged(entry_of(double, adapters=1000)).adapters == 1000


def test_a_mistake_in_the_last_adapter_is_found() -> None:
    def nearly(x: Tensor) -> dict[str, Tensor]:
        found = 2 * x
        found[-1] += 1
        return {"twice": found}

    with pytest.raises(Disagreement, match="twice is off"):
        judged(entry_of(nearly, adapters=1000))


def test_memory_like_the_first_answer_is_nan_before_the_one_that_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[object] = []

    def told(x: Tensor) -> dict[str, Tensor]:
        happened.append("called")
        return double(x)

    def full(shape: torch.Size, value: float, **like: Any) -> None:
        happened.append((list(shape), value != value, like["dtype"]))

    monkeypatch.setattr(torch, "full", full)
    judged(entry_of(told, scaled={}))
    assert happened == ["called", ([3, 4], True, torch.float32), "called"]


def test_what_others_are_measured_against_gets_more_rounds() -> None:
    def slow(x: Tensor) -> dict[str, Tensor]:
        seconds[0] += 1.0
        return double(x)

    seconds, clock = [0.0], Clock(lambda: seconds[0])
    for gated, rounds in ((), LEAST_ROUNDS), (("other",), LEAST_OF_YARDSTICK):
        entry = entry_of(slow, scaled={}, gated=gated)
        assert judged(entry, clock).rounds == rounds


def test_what_takes_long_needs_no_more_rounds_than_the_others() -> None:
    def slow(x: Tensor) -> dict[str, Tensor]:
        seconds[0] += 1.5 * LONG
        return double(x)

    seconds, clock = [0.0], Clock(lambda: seconds[0])
    entry = entry_of(slow, scaled={}, gated=("other",))
    assert judged(entry, clock).rounds == LEAST_ROUNDS


def test_launches_may_be_counted_on_less_than_is_timed() -> None:
    given: list[int] = []

    def told(x: Tensor) -> dict[str, Tensor]:
        given.append(len(x))
        for row in x:
            row.neg()
        return {"twice": 2 * x}

    brief = judged(entry_of(told, scaled={}, part=None, brief=lambda x: x[:1]))
    assert given == [3, 3, 1]  # the second is held to the truth
    whole = judged(entry_of(told, scaled={}, part=None))
    assert whole.facts["launches"] > brief.facts["launches"]


def test_every_answer_is_held_to_the_truth_and_to_inputs_left_as_they_were() -> None:
    entry = entry_of(double)
    ground = Ground(entry.contest)
    found = judge(entry, ground, clock_of("cpu"), 0.01)
    assert found.hold(double(ground.inputs)) == 0
    with pytest.raises(Disagreement, match="twice is off"):
        found.hold({"twice": 3 * ground.inputs})
    answer = double(ground.inputs)
    ground.inputs[0, 0] += 1
    with pytest.raises(Disagreement, match="it changed its inputs"):
        found.hold(answer)


def test_the_copy_of_a_few_adapters_is_watched_too() -> None:
    def slow(x: Tensor) -> dict[str, Tensor]:
        seconds[0] += len(x)
        return {"twice": x.mul_(2)}

    seconds = [0.0]
    entry = entry_of(slow, 100, scaled={"mine": 5.0})
    with pytest.raises(Disagreement, match="it changed its inputs"):
        judged(entry, Clock(lambda: seconds[0]))


def test_a_slow_contender_is_timed_on_a_few_adapters() -> None:
    seconds = [0.0]

    def slow(x: Tensor) -> dict[str, Tensor]:
        seconds[0] += len(x)  # one for each adapter
        return double(x)

    clock = Clock(lambda: seconds[0])
    assert judged(entry_of(slow, 100, scaled={"mine": 5.0}), clock).adapters == 5
    assert judged(entry_of(slow, 100, scaled={"mine": 100.0}), clock).adapters == 100
    assert judged(entry_of(slow, 100, scaled={}), clock).adapters == 100
