from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.accelerators import stand_in
from torch import Tensor

from wsa.errors import EnvironmentProblem
from wsa.train import Goal, Outcome, Run, Split, TrainConfig, train
from wsa.train.memory import halved, needed_bytes, out_of_memory
from wsa.train.parts import arrange
from wsa.train.sitting import Job
from wsa.train.step import Step

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]
Learn = Callable[..., Outcome]

CPU_REFUSAL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 400000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA_REFUSAL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_refusal_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**14)
    assert out_of_memory(refused.value)
    refusals = (
        CPU_REFUSAL,
        CUDA_REFUSAL,
        MemoryError(),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"),
    )
    assert all(map(out_of_memory, refusals))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


def test_a_batch_is_halved_down_to_two() -> None:
    assert [halved(each) for each in (256, 5, 4)] == [128, 2, 2]
    with pytest.raises(EnvironmentProblem, match="even in batches of 3; take fewer --num-runs"):
        halved(3)


@pytest.fixture
def learn(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> Callable[..., Outcome]:
    def run(batch: int, path: Path | None = None, kill: int | None = None) -> Outcome:
        def on_epoch(epoch: int, last: int) -> None:
            if epoch == kill:
                raise KeyboardInterrupt

        config = small_config(batch_size=batch, checkpoint_seconds=0)
        given = (planted(), plain_split(80), [Run(0), Run(1)])
        return train(*given[0], *given[1:], 4, config, path, on_epoch)

    return run


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let there be memory for batches of so many adapters, and no more."""
    take = Step.take

    def leave(most: int, refusal: Exception = CUDA_REFUSAL) -> None:
        def refused(step: Step, values: Tensor, *rest: Any) -> None:
            if values.shape[1] > most:
                raise refusal
            take(step, values, *rest)

        monkeypatch.setattr(Step, "take", refused)

    return leave


@pytest.mark.parametrize("refusal", [CUDA_REFUSAL, CPU_REFUSAL, MemoryError()], ids=type)
def test_a_batch_that_does_not_fit_is_halved_and_all_is_as_if_that_had_been_asked_for(
    learn: Learn,
    room: Callable[..., None],
    refusal: Exception,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = learn(8)
    room(8, refusal)
    found = learn(32)
    assert found.runs == wanted.runs
    assert all(torch.equal(found.weights[name], each) for name, each in wanted.weights.items())
    assert found.conditions == wanted.conditions | {"batch_size": 8}
    assert found.warnings == ["batches of 8: larger ones did not fit the memory"]
    assert capsys.readouterr().err.splitlines() == [
        "out of memory in batches of 32; the task starts anew in batches of 16",
        "out of memory in batches of 16; the task starts anew in batches of 8",
    ]


def test_other_errors_are_not_taken_for_a_want_of_memory(
    learn: Learn, room: Callable[..., None]
) -> None:
    room(0, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        learn(32)


def test_where_not_even_two_adapters_fit_the_training_stops_in_one_line(
    learn: Learn, room: Callable[..., None]
) -> None:
    room(0)
    with pytest.raises(EnvironmentProblem, match="even in batches of 2; take fewer --num-runs"):
        learn(32)


@pytest.mark.parametrize("kill", [1, 3])
def test_who_goes_on_after_a_kill_keeps_to_the_smaller_batch(
    learn: Learn, room: Callable[..., None], tmp_path: Path, kill: int
) -> None:
    wanted = learn(8)
    room(10)
    with pytest.raises(KeyboardInterrupt):
        learn(32, tmp_path / "task.pt", kill)
    room(64)  # by now there would be room
    found = learn(32, tmp_path / "task.pt")
    assert found.runs == wanted.runs
    assert found.exact_resume
    assert found.conditions["batch_size"] == 8


def test_features_that_a_device_has_no_room_for_stay_on_the_host(
    planted: Planted,
    plain_split: PlainSplit,
    small_config: SmallConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, labels = planted()
    config = small_config()
    needed = needed_bytes(features, 2, 4, config)
    assert needed > 2 * features.nbytes
    stand_in(monkeypatch)
    # a device that is not there: what a job asks of it is told by the stand-in
    given = (plain_split(80), [Run(0), Run(1)], Goal(), None, config, torch.device("cuda"))
    for free, streamed in ((needed, True), (2 * needed, False)):
        monkeypatch.setattr("wsa.train.accelerator.free_bytes", lambda device, free=free: free)
        assert Job(features, labels, *given).stream is streamed


def test_features_that_a_device_refuses_stay_on_the_host(
    learn: Learn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = learn(16)
    with monkeypatch.context() as patched:
        stand_in(patched)
        patched.setattr(Job, "__post_init__", lambda job: setattr(job, "stream", False))
        refusals = [CUDA_REFUSAL]

        def placed(*given: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return arrange(*given)

        patched.setattr("wsa.train.sitting.arrange", placed)
        patched.setattr("wsa.train.accelerator.release_memory", lambda device: None)
        found = learn(16)
    assert found.runs == wanted.runs
    assert found.conditions["stream"]
    assert "batch_size" not in found.conditions
    assert capsys.readouterr().err.splitlines() == [
        "out of memory for the features; they stay on the host, and batches travel"
    ]
