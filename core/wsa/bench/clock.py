"""Clock: time as each device keeps it, in the form pytest-benchmark asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Several times the 60 MB of an H200's L2: what is written between rounds leaves nothing in it.
FLUSH_BYTES = 256 << 20
# Linux: nanoseconds on a processor, nanoseconds runnable without one, and turns.
SCHEDULED = Path("/proc/thread-self/schedstat")


def _nothing() -> None:
    """Do nothing: the CPU's caches are left as a caller would find them."""


@dataclass(frozen=True)
class Clock:
    """`now` is read before and after each round, `settle` is called before the first reading."""

    now: Callable[[], float]  # seconds
    settle: Callable[[], None] = _nothing
    own: list[float] = field(default_factory=list)  # seconds of each round, where `Wall` tells

    def last_own(self) -> float | None:
        """Return the last round's own time, None where this clock does not tell."""
        return self.own[-1] if self.own else None

    def seconds(self, call: Callable[[], object]) -> float:
        """Time one call."""
        self.settle()
        started = self.now()
        call()
        return self.now() - started


def clock_of(device: str) -> Clock:
    """Return the wall clock for the CPU; for CUDA, events on the device between cold rounds."""
    if device == "cpu":
        wall = Wall()
        return Clock(wall.now, wall.settle, wall.own)
    events = DeviceEvents(torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device))
    return Clock(events.now, events.settle)


class Reading(NamedTuple):
    """What the system tells of this thread at one moment, in seconds."""

    waited: float  # for a processor that others held
    worked: float
    wall: float


def read() -> Reading:
    """Read all three, the wall clock last; where nobody tells of waiting, there was none."""
    try:
        waited = int(SCHEDULED.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        waited = 0.0
    return Reading(waited, time.thread_time(), time.perf_counter())


class Wall:
    """The wall clock; beside it, what a round took without what other processes took of it.

    That is what a gate compares: of two contenders on a busy machine, the longer loses more.
    """

    def __init__(self) -> None:
        self.own: list[float] = []
        self.opened: Reading | None = None

    def settle(self) -> None:
        """Forget a round that an error left open."""
        self.opened = None

    def now(self) -> float:
        """Open a round, or close the open one; the readings beside the wall's lie outside it."""
        if self.opened is None:
            self.opened = read()
            return self.opened.wall
        ended = time.perf_counter()
        closed, opened = read(), self.opened
        self.opened, wall = None, ended - opened.wall
        # waiting is told in turns of some milliseconds: who worked did not wait meanwhile
        lost = closed.waited - opened.waited
        self.own.append(min(wall, max(wall - lost, closed.worked - opened.worked)))
        return ended


class DeviceEvents:
    """A clock that only goes while a round runs, by the time between two events on the device."""

    def __init__(self, written: torch.Tensor) -> None:
        self.written = written
        self.elapsed = 0.0
        self.started: torch.cuda.Event | None = None

    def settle(self) -> None:
        """Empty the cache, and forget a round that an error left open."""
        self.started = None
        self.written.zero_()

    def now(self) -> float:
        """Open a round, or close the open one; the host waits for the device at its end only.

        The event that opens it queues behind the flush, so that launches are hidden as they are in
        a stream of work.
        """
        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        if self.started is None:
            self.started = event
            return self.elapsed
        torch.cuda.synchronize()
        self.elapsed += self.started.elapsed_time(event) / 1e3
        self.started = None
        return self.elapsed


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Hold torch, BLAS and OpenMP to so many threads."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)
