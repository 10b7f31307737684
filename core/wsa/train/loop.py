"""Training from features to an outcome, through any number of interruptions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from wsa.errors import WsaError
from wsa.train.checkpoint import fingerprint
from wsa.train.goal import REGRESSION, as_goal
from wsa.train.sitting import Job, Sitting

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
    device: torch.device | None = None,
) -> Outcome:
    """Train S runs on [N, D] float32 features and [N] labels, on `device` or where they lie.

    Labels are int64 for classes and levels, float64 for a number. With a `checkpoint` path a killed
    training goes on where it was; the caller removes the file once the outcome is safe.
    `on_epoch(epoch, max_epochs)` is called after each epoch. With `columns`, run s reads only those
    of the D columns that `columns[s]` names. `brief` measures the primary metric alone.

    Features that the device has no room for stay where they are, and batches travel. Where memory
    is refused all the same, the task starts anew with half the batch, down to two adapters.
    """
    goal = fitted(as_goal(goal), labels, split)
    check(features, labels, split, runs, goal)
    digest = ""
    if checkpoint is not None:
        digest = fingerprint(features, labels, split, runs, goal, config, columns)
    where = features.device if device is None else device
    job = Job(features, labels, split, runs, goal, columns, config, where)
    return Sitting(job, checkpoint, digest).outcome(on_epoch, brief)


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
