from __future__ import annotations

import pytest
import torch

from wsa.bench.clock import Clock, clock_of, threads
from wsa.bench.launches import watched
from wsa_kernels.compilation import compiled


def test_a_round_is_the_time_between_two_readings_after_the_clock_has_settled() -> None:
    readings, told = iter([2.0, 5.0]), []
    clock = Clock(lambda: next(readings), lambda: told.append("settled"))
    assert clock.seconds(lambda: told.append("called")) == 3.0
    assert told == ["settled", "called"]


def test_the_cpu_is_timed_by_the_wall() -> None:
    assert clock_of("cpu").seconds(lambda: sum(range(1000))) > 0


def test_threads_are_held_and_given_back() -> None:
    torch.set_num_threads(2)
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_launches_count_what_is_called_and_not_what_that_calls() -> None:
    values = torch.randn(8, 8)
    assert watched(lambda: (values + 1).softmax(0), "cpu")[1] == 2


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_counting_launches_leaves_compiled_code_compiled() -> None:
    code, values = compiled(_many), torch.randn(8, 8)
    code(values)
    assert watched(lambda: _many(values), "cpu")[1] == 4
    assert [watched(lambda: code(values), "cpu")[1] for _ in range(2)] == [1, 1]


def _many(values: torch.Tensor) -> torch.Tensor:
    return ((values + 1).sin() * 2).sum(-1)
