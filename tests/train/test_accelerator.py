from __future__ import annotations

from functools import partial

import pytest
import torch
from tests.train.accelerators import StandIn, stand_in
from torch import Tensor

from wsa.train import accelerator
from wsa.train.accelerator import Lane, NotRecorded

CPU = torch.device("cpu")
capture = accelerator.capture


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return stand_in(monkeypatch)


def test_only_cuda_records() -> None:
    assert not accelerator.records(CPU)
    assert accelerator.records(torch.device("cuda"))


def test_work_is_warmed_up_on_a_stream_of_its_own(cuda: StandIn) -> None:
    accelerator.warm_up(lambda: cuda.told.append("work"), CPU)
    assert cuda.told == [
        "side waits for present",
        "on side",
        *["work"] * accelerator.WARM_UPS,
        "off side",
        "present waits for side",
    ]


def test_each_work_becomes_a_graph_that_knows_every_generator(cuda: StandIn) -> None:
    draws, done = [torch.Generator(), torch.Generator()], []
    replays = accelerator.recorded({5: lambda: done.append(5), 4: lambda: done.append(4)}, draws)
    assert done == []
    assert [graph.draws for graph in cuda.graphs] == [draws, draws]
    for size in (4, 5, 4):
        replays[size]()
    assert done == [4, 5, 4]


def test_a_capture_lies_between_begin_and_end_in_the_pool(cuda: StandIn) -> None:
    capture(cuda.CUDAGraph(), "a pool", lambda: cuda.told.append("work"))
    assert cuda.told == ["capture in a pool", "work", "captured"]


@pytest.mark.parametrize(
    "problem",
    [
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
    ids=type,
)
def test_a_refusal_is_told_with_its_reason(
    cuda: StandIn, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise problem

    monkeypatch.setattr(accelerator, "capture", refuse)
    with pytest.raises(NotRecorded, match=str(problem)):
        accelerator.recorded({1: lambda: None}, [])


def test_what_torch_holds_in_reserve_counts_as_free(cuda: StandIn) -> None:
    assert accelerator.free_bytes(CPU) == 110


def batches(count: int) -> list[Tensor]:
    return [torch.full((2, 3), float(index)) for index in range(count)]


def fill(batch: Tensor, host: Tensor) -> None:
    host.copy_(batch)


def brought(lane: Lane, given: list[Tensor]) -> list[Tensor]:
    out, found = torch.zeros(2, 3), []
    for batch in given:
        lane.bring(partial(fill, batch), out)
        found.append(out.clone())
    return found


def test_a_lane_brings_every_batch() -> None:
    assert all(map(torch.equal, brought(Lane(8, CPU), batches(5)), batches(5)))


def test_a_batch_travels_on_a_stream_of_its_own_by_two_buffers_in_turns(cuda: StandIn) -> None:
    lane = Lane(8, CPU)
    cuda.told.clear()
    assert all(map(torch.equal, brought(lane, batches(3)), batches(3)))
    # events 1 and 2: a copy has left the host; 3 and 4: the device has used it
    turns = [(1, 3), (2, 4), (1, 3)]
    assert cuda.told == [
        line
        for copied, used in turns
        for line in (
            f"host waits for event {copied}",
            "on side",
            f"side waits for event {used}",
            f"side records event {copied}",
            "off side",
            f"present waits for event {copied}",
            f"present records event {used}",
        )
    ]
