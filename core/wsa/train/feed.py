"""Feed: what the steps of an epoch read, in buffers that stay where they are.

A step finds its batch by a position on the device that it moves on itself, so that it can be
recorded once and replayed: nothing of it is told by the host.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from wsa.train.accelerator import Lane

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from wsa.train.parts import Part


class Feed:
    """The training part, on the device whole."""

    def __init__(self, part: Part, largest: int) -> None:
        """Feed no run yet; no batch will have more adapters than `largest`."""
        self.part, self.largest = part, largest
        self.ramp = torch.arange(largest, device=part.labels.device)
        self.position = torch.zeros((), dtype=torch.int64, device=part.labels.device)

    def hold(self, runs: Sequence[int]) -> None:
        """Feed these runs from now on, from buffers of their own."""
        self.labels, self.columns = self.part.labels[list(runs)], self.part.of(runs)
        self.orders = torch.zeros_like(self.labels, dtype=torch.int64)

    def begin(self, orders: Tensor) -> None:
        """Take the order of an epoch's adapters [S, n], and go back to its start."""
        self.orders.copy_(orders)
        self.position.zero_()

    def ready(self, size: int) -> None:
        """Bring what the next step reads and the device does not have: nothing."""

    def take(self, size: int) -> tuple[Tensor, Tensor]:
        """Return features [S, B, W] and labels [S, B] of the next B adapters, and move on."""
        rows = self._rows(size)
        return self.part.batch(rows, self.columns), self.labels.gather(1, rows)

    def _rows(self, size: int) -> Tensor:
        places = (self.position + self.ramp[:size]).expand(len(self.orders), -1)
        rows = self.orders.gather(1, places)
        self.position += size
        return rows


class Stream(Feed):
    """The training part with its features on the host: batches are gathered there and travel."""

    def hold(self, runs: Sequence[int]) -> None:
        """Feed these runs from now on, from buffers of their own."""
        super().hold(runs)
        width = self.part.features.shape[1] if self.columns is None else self.columns.shape[1]
        numbers, device = len(runs) * self.largest * width, self.part.labels.device
        self.lane, self.width = Lane(numbers, device), width
        self.values = torch.zeros(numbers, device=device)

    def begin(self, orders: Tensor) -> None:
        """Take the order of an epoch's adapters [S, n]; the host waits for it, once an epoch."""
        super().begin(orders)
        self.waiting, self.begun = orders.to(self.part.features.device), 0

    def ready(self, size: int) -> None:
        """Gather the next B adapters on the host and bring them to the device."""
        rows = self.waiting[:, self.begun : self.begun + size]
        self.begun += size
        self.lane.bring(partial(self._gather, rows), self._batch(size))

    def take(self, size: int) -> tuple[Tensor, Tensor]:
        """Return features [S, B, W] and labels [S, B] of the next B adapters, and move on."""
        return self._batch(size), self.labels.gather(1, self._rows(size))

    def _batch(self, size: int) -> Tensor:
        shape = (len(self.orders), size, self.width)
        return self.values[: shape[0] * size * self.width].view(shape)

    def _gather(self, rows: Tensor, out: Tensor) -> None:
        if self.columns is not None:
            out.copy_(self.part.batch(rows, self.columns))
            return
        # straight into the buffer: a batch of 11 x 256 x 2560 is 29 MB, copied once
        torch.index_select(self.part.features, 0, rows.flatten(), out=out.view(-1, self.width))
