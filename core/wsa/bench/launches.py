"""Launches: how many pieces of work one call hands to the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

COMPILED = "Torch-Compiled Region"


def count_launches(call: Callable[[], object], device: str) -> int:
    """Count the kernels of one call on CUDA, or its calls of torch operations on the CPU.

    On the CPU a compiled graph counts as one, and as one more for each operation it calls out to;
    numpy and scipy are not seen. Counted by the profiler: under a TorchDispatchMode compiled
    code turns eager, and stays so.
    """
    return _kernels(call) if device == "cuda" else _operations(call)


def _kernels(call: Callable[[], object]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in _events(seen))


def _operations(call: Callable[[], object]) -> int:
    # kineto, the profiler's other engine, writes to standard error
    with torch.autograd.profiler.profile(use_kineto=False) as seen:
        call()
    return sum(_is_launch(event) for event in seen.function_events or ())


def _is_launch(event: Any) -> bool:
    if event.name.startswith(COMPILED):
        return True
    within = event.cpu_parent.name if event.cpu_parent else ""
    return event.name.startswith("aten::") and not within.startswith("aten::")


def _events(seen: Any) -> Iterable[Any]:
    found: Iterable[Any] = seen.events() or ()
    return found
