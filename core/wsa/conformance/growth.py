"""Growth: what hundreds of calls leave behind, told from what the first of them pay for.

Python's own blocks are counted: a leak keeps one with every call at least, be it the shell of a
tensor or of an array. What lies outside of Python shows in the size of the process, or of the
device's memory. Nothing watches the calls themselves: tracing them took ten times as long.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

HALF = 50
# what still grows is asked again: a cache fills, and what torch and Python keep of many small
# operations grew by 181, 59, 33, 26 and 22 blocks in five halves; a leak goes on
ROUNDS = 9
# fifties on end that must keep nothing: one alone may hide a leak in what others let go of
QUIET = 2
BLOCKS_A_CALL = 0.8
# the allocator keeps pages of its own; a leak that only the process's size shows is larger
KIBIBYTES_A_CALL = 100.0
STATM = Path("/proc/self/statm")


class Grown(NamedTuple):
    """What the last half-hundred calls kept: Python's blocks, and memory, a call."""

    calls: int
    blocks: float
    kibibytes: float

    @property
    def is_leak(self) -> bool:
        """Tell whether that is more than nothing."""
        return self.blocks > BLOCKS_A_CALL or self.kibibytes > KIBIBYTES_A_CALL


def growth(call: Callable[[], Any], device: torch.device) -> Grown:
    """Call in halves of a hundred until two on end keep next to nothing; return the last that did.

    Returns the last half that kept more where there were no two such.
    """
    at, worst, quiet = _after_half(call, device), Grown(HALF, 0.0, 0.0), 0
    for number in range(2, 2 + ROUNDS):
        before, at = at, _after_half(call, device)
        kibibytes = (at[1] - before[1]) / HALF / 1024
        found = Grown(number * HALF, (at[0] - before[0]) / HALF, kibibytes)
        quiet = 0 if found.is_leak else quiet + 1
        if quiet == QUIET:
            return found
        worst = found if found.is_leak else worst
    return worst


def _after_half(call: Callable[[], Any], device: torch.device) -> tuple[int, int]:
    for _ in range(HALF):
        call()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return sys.getallocatedblocks(), int(torch.cuda.memory_allocated(device))
    return sys.getallocatedblocks(), resident_bytes()


def resident_bytes() -> int:
    """Return how much memory the process has, 0 where the system does not tell.

    What the C library keeps of freed memory goes back first: a leak would fill that, unseen.
    """
    if not STATM.exists():
        return 0
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if trim is not None:
        trim(0)
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
