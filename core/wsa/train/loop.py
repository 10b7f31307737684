"""Training from features to an outcome, through any number of interruptions."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from wsa import interruption
from wsa.errors import WsaError, differences
from wsa.progress import say
from wsa.train import checkpoint as checkpoints
from wsa.train.goal import REGRESSION, as_goal
from wsa.train.outcome import collect
from wsa.train.parts import arrange
from wsa.train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from wsa.train.config import TrainConfig
    from wsa.train.goal import Goal
    from wsa.train.outcome import Outcome, Run
    from wsa.train.split import Split


def train(
    features: Tensor,
    labels: Tensor,
    split: Split,
    runs: Sequence[Run],
    goal: Goal | int,
    config: TrainConfig,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, int], None] | None = None,
    columns: Sequence[Sequence[int]] | None = None,
    brief: bool = False,
) -> Outcome:
    """Train S runs on [N, D] float32 features and [N] labels, on the features' device.

    Labels are int64 for classes and levels, float64 for a number. With a `checkpoint` path a killed
    training goes on where it was; the caller removes the file once the outcome is safe.
    `on_epoch(epoch, max_epochs)` is called after each epoch. With `columns`, run s reads only those
    of the D columns that `columns[s]` names. `brief` measures the primary metric alone.
    """
    goal = fitted(as_goal(goal), labels, split)
    check(features, labels, split, runs, goal)
    standard, parts = arrange(features, labels, split, runs, columns)
    job = ""
    if checkpoint is not None:
        job = checkpoints.fingerprint(features, labels, split, runs, goal, config, columns)
    trainer = Trainer(parts, runs, goal, config)
    sitting = _Sitting(trainer, checkpoint, job)
    sitting.finish(on_epoch)
    return collect(trainer, standard, sitting.exact, brief)


class _Sitting:
    """What lies between two kills: resumed from a checkpoint, leaving checkpoints behind."""

    def __init__(self, trainer: Trainer, path: Path | None, job: str) -> None:
        self.trainer, self.path, self.job = trainer, path, job
        self.exact = True
        self.before: dict[str, Any] | None = None
        self.saved = time.monotonic()
        state = checkpoints.load(path, job, trainer.device) if path is not None else None
        if state is not None:
            trainer.restore(state["trainer"])
            self.exact, self.before = bool(state["exact"]), state["conditions"]

    def finish(self, on_epoch: Callable[[int, int], None] | None) -> None:
        """Train until every run has stopped."""
        with interruption.watched():
            while not self.trainer.done:
                self.trainer.run_epoch()
                # asked once: a signal that comes later waits for the next epoch, and its save
                last = interruption.requested()
                self.after_epoch(last)
                if on_epoch is not None:
                    on_epoch(self.trainer.epoch, self.trainer.config.max_epochs)
                if last:
                    interruption.stop()

    def after_epoch(self, last: bool = False) -> None:
        """Judge the conditions, known only now as compiling may have failed; save where due."""
        if self.before is not None:
            self._compare(self.before, self.trainer.conditions())
            self.before = None
        due = time.monotonic() - self.saved >= self.trainer.config.checkpoint_seconds
        if self.path is not None and (due or last) and not self.trainer.done:
            state = {"trainer": self.trainer.state(), "conditions": self.trainer.conditions()}
            checkpoints.save(self.path, self.job, state | {"exact": self.exact})
            self.saved = time.monotonic()

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        changed = differences(before, now)
        if changed:
            self.exact = False
            told = ", ".join(changed)
            say(f"training resumed under other conditions ({told}): its last digits may differ")


def fitted(goal: Goal, labels: Tensor, split: Split) -> Goal:
    """Return the goal with the mean and spread of the training labels, where it is a number."""
    if goal.kind != REGRESSION:
        return goal
    mine = labels[torch.as_tensor(split.train, device=labels.device)].double()
    std = float(mine.std(correction=0))
    return replace(goal, classes=1, mean=float(mine.mean()), std=std or 1.0)


def check(features: Tensor, labels: Tensor, split: Split, runs: Sequence[Run], goal: Goal) -> None:
    """Raise WsaError where features, labels and split do not belong together."""
    count = len(features)
    if features.dim() != 2 or features.dtype != torch.float32:
        shape = list(features.shape)
        raise WsaError(f"features must be [N, D] float32; got {shape} {features.dtype}")
    if len(labels) != count or len(split.assignment) != count:
        raise WsaError(
            f"features, labels and split must tell of the same adapters; "
            f"got {count}, {len(labels)} and {len(split.assignment)}"
        )
    if not runs:
        raise WsaError("training needs at least one run; got none")
    mine = labels[torch.as_tensor(split.assignment >= 0, device=labels.device)]
    if goal.kind == REGRESSION:
        _check_numbers(mine)
        return
    classes = goal.classes
    if classes < 2 or int(mine.min()) < 0 or int(mine.max()) >= classes:
        raise WsaError(
            f"labels must lie in 0 .. {classes - 1} with at least two classes; "
            f"got {int(mine.min())} .. {int(mine.max())}"
        )


def _check_numbers(labels: Tensor) -> None:
    if not torch.isfinite(labels).all():
        raise WsaError("labels must be finite numbers; some are not: mark them as not usable")
    if bool((labels == labels[0]).all()):
        raise WsaError(
            f"a regression needs labels that vary; all {len(labels)} are {float(labels[0]):g}; "
            "name another column after --label"
        )
