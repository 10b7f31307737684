"""Buffers: memory that shards are read into, lent again when nobody holds it any more."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The shard that is read, the one worked on, and the one that was: who holds more waits for pages.
MOST_KEPT = 3


class Buffers:
    """Lends flat buffers; a fresh one costs 1.2 ms a MB in page faults, ten times its read."""

    def __init__(self) -> None:
        self._free: list[NDArray[np.uint8]] = []

    def lend(self, rows: int, cols: int, dtype: torch.dtype, pinned: bool = False) -> Tensor:
        """Return a tensor [rows, cols] of whatever was there before."""
        return self.lend_bytes(rows * cols * dtype.itemsize, pinned).view(dtype).view(rows, cols)

    def lend_bytes(self, size: int, pinned: bool = False) -> Tensor:
        """Return so many bytes; torch itself lends pinned memory again."""
        if pinned:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        memory = self._taken(size)
        lent = memory[:size]
        # torch holds this array for as long as any view of the tensor lives
        weakref.finalize(lent, self._take_back, memory).atexit = False
        return torch.from_numpy(lent)

    def _taken(self, size: int) -> NDArray[np.uint8]:
        while self._free:
            memory = self._free.pop()
            if len(memory) >= size:
                return memory
        # numpy asks for no boundary, torch's own buffers have one of 64 bytes
        fresh = np.empty(size + 64, dtype=np.uint8)
        return fresh[-fresh.ctypes.data % 64 :]

    def _take_back(self, memory: NDArray[np.uint8]) -> None:
        if len(self._free) < MOST_KEPT:
            self._free.append(memory)
