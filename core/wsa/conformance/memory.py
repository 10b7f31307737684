"""Memory: how many bytes a call holds at once at most, counted exactly, not sampled."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The bytes of every storage that torch's operations make, while it lives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        known = {_place(each) for each in tree_leaves((args, kwargs)) if _is_tensor(each)}
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if _is_tensor(each) and _place(each) not in known | self.seen:
                self._hold(each)
        return out

    def _hold(self, tensor: torch.Tensor) -> None:
        storage, place = tensor.untyped_storage(), _place(tensor)
        size = storage.nbytes()
        self.seen.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        # a storage keeps its Python object as long as it lives itself
        weakref.finalize(storage, self._free, place, size)

    def _free(self, place: int, size: int) -> None:
        self.seen.discard(place)
        self.now -= size


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """Return the most bytes a call held at once: torch's, and on the CPU numpy's and Python's."""
    if device.type == "cuda":
        return _peak_on_cuda(call, device)
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        with Held() as held:
            call()
        return int(held.peak) + tracemalloc.get_traced_memory()[1] - before
    finally:
        if not running:
            tracemalloc.stop()


def _peak_on_cuda(call: Callable[[], Any], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device)) - before


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided


def _place(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
