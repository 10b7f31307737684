"""Early stopping, one counter a run: who improved, who goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


GAIN = 0.01
COUNTERS = ("active", "best_loss", "best_epoch", "gained_loss", "gained_epoch", "epochs", "failed")


class Stopping:
    """The validation losses of S runs; a run ends `patience` epochs after its last gain.

    Any lower loss is the best so far; a gain is one lower by `gain` than at the gain before. A
    run whose loss is no number has failed, at that epoch, and ends.
    """

    def __init__(self, runs: int, patience: int, gain: float = GAIN) -> None:
        self.patience, self.gain = patience, gain
        self.active = list(range(runs))
        self.best_loss = [math.inf] * runs
        self.gained_loss = [math.inf] * runs
        self.gained_epoch = [0] * runs
        self.best_epoch = [0] * runs
        self.epochs = [0] * runs
        self.failed: list[int | None] = [None] * runs

    def record(self, losses: Mapping[int, float]) -> list[int]:
        """Take an epoch's loss of each active run and return the runs that improved.

        Runs out of patience, or failed, leave `active`.
        """
        improved = [run for run in self.active if losses[run] < self.best_loss[run]]
        for run in self.active:
            self.epochs[run] += 1
            if math.isnan(losses[run]):
                self.failed[run] = self.epochs[run]
        for run in improved:
            self.best_loss[run], self.best_epoch[run] = losses[run], self.epochs[run]
            if losses[run] < self.gained_loss[run] - self.gain:
                self.gained_loss[run], self.gained_epoch[run] = losses[run], self.epochs[run]
        self.active = [run for run in self.active if self._goes_on(run)]
        return improved

    def _goes_on(self, run: int) -> bool:
        return self.failed[run] is None and self.waited(run) < self.patience

    def waited(self, run: int) -> int:
        """Return how many epochs ago a run last gained."""
        return self.epochs[run] - self.gained_epoch[run]

    def state(self) -> dict[str, Any]:
        """Return a copy of every counter, for a checkpoint."""
        return {name: list(getattr(self, name)) for name in COUNTERS}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the counters of a checkpoint."""
        for name in COUNTERS:
            setattr(self, name, list(state[name]))
