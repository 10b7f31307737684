"""A stand-in for torch.cuda where there is no device: it notes what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from wsa.train import accelerator


@dataclass
class NotedStream:
    name: str
    told: list[str]

    def wait_stream(self, other: NotedStream) -> None:
        self.told.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: NotedEvent) -> None:
        self.told.append(f"{self.name} waits for {event.name}")


@dataclass
class NotedEvent:
    name: str
    told: list[str]

    def record(self, stream: NotedStream) -> None:
        self.told.append(f"{stream.name} records {self.name}")

    def synchronize(self) -> None:
        self.told.append(f"host waits for {self.name}")


@dataclass
class NotedGraph:
    told: list[str]
    draws: list[torch.Generator] = field(default_factory=list)
    work: Callable[[], None] = lambda: None

    def register_generator_state(self, draw: torch.Generator) -> None:
        self.draws.append(draw)

    def replay(self) -> None:
        self.told.append("replay")
        self.work()


class StandIn:
    """What `accelerator` asks of torch.cuda, on the CPU."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.graphs: list[NotedGraph] = []
        self.present = NotedStream("present", self.told)
        self.events = 0

    def Stream(self, device: torch.device) -> NotedStream:
        return NotedStream("side", self.told)

    def Event(self) -> NotedEvent:
        self.events += 1
        return NotedEvent(f"event {self.events}", self.told)

    def CUDAGraph(self) -> NotedGraph:
        self.graphs.append(NotedGraph(self.told))
        return self.graphs[-1]

    def current_stream(self, device: torch.device) -> NotedStream:
        return self.present

    @contextmanager
    def stream(self, stream: NotedStream) -> Iterator[None]:
        self.told.append(f"on {stream.name}")
        yield
        self.told.append(f"off {stream.name}")

    @contextmanager
    def graph(self, graph: NotedGraph, pool: object) -> Iterator[None]:
        self.told.append(f"capture in {pool}")
        yield
        self.told.append("captured")

    def graph_pool_handle(self) -> str:
        return "a pool"

    def synchronize(self, device: torch.device) -> None:
        self.told.append("host waits")

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 100, 1000

    def memory_reserved(self, device: torch.device) -> int:
        return 30

    def memory_allocated(self, device: torch.device) -> int:
        return 20


def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Let the CPU pass for a device that records graphs; a replay does again what was recorded."""
    cuda = StandIn()

    def capture(graph: Any, pool: object, work: Callable[[], None]) -> None:
        graph.work = work  # noted, not run: as a capture does

    monkeypatch.setattr(accelerator, "cuda", cuda)
    monkeypatch.setattr(accelerator, "capture", capture)
    monkeypatch.setattr(accelerator, "records", lambda device: True)
    monkeypatch.setattr(accelerator, "pinned", torch.zeros)
    return cuda
