"""Early stopping, one counter a run: who improved, who goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stopping:
    """The validation losses of S runs; a run ends after `patience` epochs without a gain."""

    def __init__(self, runs: int, patience: int) -> None:
        self.patience = patience
        self.active = list(range(runs))
        self.best_loss = [math.inf] * runs
        self.best_epoch = [0] * runs
        self.epochs = [0] * runs

    def record(self, losses: Mapping[int, float]) -> list[int]:
        """Take an epoch's loss of each active run and return the runs that improved.

        Runs out of patience leave `active`. A loss that is no number improves on nothing.
        """
        improved = [run for run in self.active if losses[run] < self.best_loss[run]]
        for run in self.active:
            self.epochs[run] += 1
        for run in improved:
            self.best_loss[run], self.best_epoch[run] = losses[run], self.epochs[run]
        self.active = [run for run in self.active if self.waited(run) < self.patience]
        return improved

    def waited(self, run: int) -> int:
        """Return how many epochs ago a run last improved."""
        return self.epochs[run] - self.best_epoch[run]

    def state(self) -> dict[str, Any]:
        """Return a copy of every counter, for a checkpoint."""
        return {
            "active": list(self.active),
            "best_loss": list(self.best_loss),
            "best_epoch": list(self.best_epoch),
            "epochs": list(self.epochs),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the counters of a checkpoint."""
        self.active, self.best_loss = state["active"], state["best_loss"]
        self.best_epoch, self.epochs = state["best_epoch"], state["epochs"]
