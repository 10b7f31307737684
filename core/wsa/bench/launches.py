"""Launches: how many pieces of work one call hands to the device."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

COMPILED = "Torch-Compiled Region"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Seen(Generic[Result]):
    """One call, watched."""

    result: Result
    launches: int
    compiled: bool  # whether it ran anything that torch.compile made


def watched(call: Callable[[], Result], device: str) -> Seen[Result]:
    """Return what a call returns, and its kernels on CUDA or calls of torch operations on the CPU.

    On the CPU a compiled graph counts as one, and as one more for each operation it calls out to;
    numpy and scipy are not seen. Counted by the profiler: under a TorchDispatchMode compiled
    code turns eager, and stays so.
    """
    # the profiler's engine tells standard error of every start and stop
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    kinds = {ProfilerActivity.CPU} | ({ProfilerActivity.CUDA} if device == "cuda" else set())
    with profile(activities=kinds, acc_events=True) as seen:
        result = call()
        if device == "cuda":
            torch.cuda.synchronize()
    counts = _is_kernel if device == "cuda" else _is_operation
    events = seen.events() or ()
    compiled = any(event.name.startswith(COMPILED) for event in events)
    return Seen(result, sum(counts(event) for event in events), compiled)


def _is_kernel(event: Any) -> bool:
    # copies and fills are work handed over too; a host event has no such type
    return bool(event.device_type.name == "CUDA")


def _is_operation(event: Any) -> bool:
    if event.name.startswith(COMPILED):
        return True
    within = event.cpu_parent.name if event.cpu_parent else ""
    return event.name.startswith("aten::") and not within.startswith("aten::")
