from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from wsa.bench import clock as clocks
from wsa.bench.clock import Clock, Reading, Wall, clock_of, threads
from wsa.bench.launches import watched
from wsa_kernels.compilation import compiled


def test_a_round_is_the_time_between_two_readings_after_the_clock_has_settled() -> None:
    readings, told = iter([2.0, 5.0]), []
    clock = Clock(lambda: next(readings), lambda: told.append("settled"))
    assert clock.seconds(lambda: told.append("called")) == 3.0
    assert told == ["settled", "called"]


class Event:
    """An event on a device that takes three seconds between any two of them."""

    made = 0

    def __init__(self, enable_timing: bool) -> None:
        Event.made += 1
        self.at = 3000.0 * Event.made

    def record(self) -> None:
        pass

    def elapsed_time(self, other: Event) -> float:
        return other.at - self.at


def test_cuda_is_timed_by_events_and_an_error_leaves_no_round_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    written = torch.ones(4)
    events = clocks.DeviceEvents(written)
    clock = Clock(events.now, events.settle)
    with pytest.raises(ZeroDivisionError):
        clock.seconds(lambda: 1 / 0)
    assert [clock.seconds(lambda: None) for _ in range(2)] == [3.0, 3.0]
    assert not written.any()


def test_the_cpu_is_timed_by_the_wall() -> None:
    assert clock_of("cpu").seconds(lambda: sum(range(1000))) > 0


@pytest.mark.parametrize(
    ("opened", "closed", "own"),
    [
        (Reading(0.0, 0.0, 0.0), Reading(0.0, 2.0, 2.0), 2.0),  # alone
        (Reading(1.0, 0.0, 0.0), Reading(4.0, 2.0, 5.0), 2.0),  # three of five seconds lost
        (Reading(0.0, 0.0, 0.0), Reading(3.5, 2.0, 5.0), 2.0),  # waiting before it began is told
        (Reading(0.0, 0.0, 0.0), Reading(0.0, 0.0, 5.0), 5.0),  # asleep: nobody took that
        (Reading(0.0, 0.0, 0.0), Reading(0.0, 5.1, 5.0), 5.0),  # what the reading itself took
    ],
)
def test_a_rounds_own_time_is_what_other_processes_did_not_take(
    monkeypatch: pytest.MonkeyPatch, opened: Reading, closed: Reading, own: float
) -> None:
    readings = iter([opened, closed])
    monkeypatch.setattr(clocks, "read", lambda: next(readings))
    monkeypatch.setattr("time.perf_counter", lambda: closed.wall)
    wall = Wall()
    assert (wall.now(), wall.now(), wall.own) == (opened.wall, closed.wall, [own])


def test_where_the_system_tells_of_no_waiting_all_is_a_rounds_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clocks, "SCHEDULED", tmp_path / "none")
    clock = clock_of("cpu")
    assert clock.own == [pytest.approx(clock.seconds(lambda: time.sleep(0.01)))]


def test_threads_are_held_and_given_back() -> None:
    torch.set_num_threads(2)
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_launches_count_what_is_called_and_not_what_that_calls() -> None:
    values = torch.randn(8, 8)
    assert watched(lambda: (values + 1).softmax(0), "cpu").launches == 2


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_counting_launches_leaves_compiled_code_compiled() -> None:
    code, values = compiled(_many), torch.randn(8, 8)
    code(values)
    assert watched(lambda: _many(values), "cpu").launches == 4
    assert [watched(lambda: code(values), "cpu").launches for _ in range(2)] == [1, 1]


def _many(values: torch.Tensor) -> torch.Tensor:
    return ((values + 1).sin() * 2).sum(-1)
