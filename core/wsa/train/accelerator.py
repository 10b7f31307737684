"""The accelerator: everything that training asks of `torch.cuda`, and no other file does."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import torch

from wsa.errors import cause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    Work = Callable[[], None]

# torch types little of it; the tests put a stand-in in its place
cuda: Any = torch.cuda
# What torch's notes on CUDA graphs ask for before a capture: libraries choose their kernels, and
# fetch their workspaces, in the first calls.
WARM_UPS = 3


class NotRecorded(Exception):
    """The device recorded no graph; the message says why."""


def records(device: torch.device) -> bool:
    """Tell whether a device can record work as a graph."""
    return device.type == "cuda"


def warm_up(work: Work, device: torch.device) -> None:
    """Run work a few times on a stream of its own, for which the present one waits."""
    stream = cuda.Stream(device)
    stream.wait_stream(cuda.current_stream(device))
    with cuda.stream(stream), warnings.catch_warnings():
        # an optimiser that can be recorded says so of every step that is not
        warnings.filterwarnings("ignore", message=".*capturable=True")
        for _ in range(WARM_UPS):
            work()
    cuda.current_stream(device).wait_stream(stream)


def recorded(works: Mapping[int, Work], draws: Sequence[torch.Generator]) -> dict[int, Work]:
    """Record each work as a CUDA graph, run nothing, and return the replays.

    All share one pool: no replay reads what another left there. Every replay draws on from where
    a generator is by then. Raises NotRecorded where the device refuses.
    """
    pool = cuda.graph_pool_handle()
    replays = {}
    try:
        for name, work in works.items():
            graph = cuda.CUDAGraph()
            for draw in draws:
                graph.register_generator_state(draw)
            capture(graph, pool, work)
            replays[name] = graph.replay
    except RuntimeError as problem:
        # for want of memory too: the warm-up has shown that a plain step has enough
        raise NotRecorded(cause(problem)) from problem
    return replays


def capture(graph: Any, pool: Any, work: Work) -> None:
    """Record work: kernels are noted down, none runs."""
    with cuda.graph(graph, pool=pool):
        work()


def free_bytes(device: torch.device) -> int:
    """Return how much memory a tensor may yet take, what torch holds in reserve included."""
    free, _ = cuda.mem_get_info(device)
    return int(free + cuda.memory_reserved(device) - cuda.memory_allocated(device))


def release_memory(device: torch.device) -> None:
    """Give back to the device what torch holds in reserve."""
    if device.type == "cuda":
        cuda.empty_cache()


def seconds(work: Work, times: int, device: torch.device) -> float:
    """Return what work takes, waiting for the device before and after so many times."""
    wait = cuda.synchronize if device.type == "cuda" else lambda _: None
    work()
    wait(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - started) / times


def pinned(numbers: int) -> Tensor:
    """Return float32 zeros in memory of the host that a device copies from by itself."""
    return torch.zeros(numbers, pin_memory=True)


class Lane:
    """A way from the host to a device: two pairs of buffers by turns, copies on their own stream.

    While the device works on one batch, the host gathers the next and it travels.
    """

    def __init__(self, numbers: int, device: torch.device) -> None:
        self.device, self.turn = device, 0
        self.host = [pinned(numbers) if records(device) else torch.zeros(numbers) for _ in range(2)]
        self.there = [torch.zeros(numbers, device=device) for _ in range(2)]
        self.stream = None
        if records(device):
            self.stream = cuda.Stream(device)
            self.stream.wait_stream(cuda.current_stream(device))  # for the zeros
            self.copied, self.used = ([cuda.Event() for _ in range(2)] for _ in range(2))

    def bring(self, gather: Callable[[Tensor], None], out: Tensor) -> None:
        """Let `gather` fill a buffer of `out`'s shape on the host, and bring it into `out`."""
        turn, self.turn = self.turn, 1 - self.turn
        host, there = (
            each[turn][: out.numel()].view(out.shape) for each in (self.host, self.there)
        )
        if self.stream is None:
            gather(host)
            out.copy_(there.copy_(host))
            return
        copied, used = self.copied[turn], self.used[turn]
        # the host's buffer is free once its last copy, two batches ago, has left it
        copied.synchronize()
        gather(host)
        with cuda.stream(self.stream):
            self.stream.wait_event(used)
            there.copy_(host, non_blocking=True)
            copied.record(self.stream)
        present = cuda.current_stream(self.device)
        present.wait_event(copied)
        out.copy_(there)
        used.record(present)
