"""Training from features to an outcome, through any number of interruptions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsa.errors import WsaError
from wsa.progress import say
from wsa.train import checkpoint as checkpoints
from wsa.train.conditions import differences
from wsa.train.metrics import measure
from wsa.train.outcome import Outcome
from wsa.train.parts import arrange
from wsa.train.split import PARTS
from wsa.train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from wsa.train.config import TrainConfig
    from wsa.train.outcome import Run
    from wsa.train.split import Split
    from wsa.train.standardise import Standard


def train(
    features: Tensor,
    labels: Tensor,
    split: Split,
    runs: Sequence[Run],
    classes: int,
    config: TrainConfig,
    checkpoint: Path | None = None,
    on_epoch: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Train S runs on [N, D] float32 features and [N] int64 labels, on the features' device.

    With a `checkpoint` path a killed training goes on where it was; the caller removes the file
    once the outcome is safe. `on_epoch(epoch, max_epochs)` is called after each epoch.
    """
    _check(features, labels, split, runs, classes)
    standard, parts = arrange(features, labels, split, runs)
    trainer = Trainer(parts, runs, classes, config)
    sitting = None
    if checkpoint is not None:
        job = checkpoints.fingerprint(features, labels, split, runs, classes, config)
        sitting = _Sitting(trainer, checkpoint, job)
    while not trainer.done:
        trainer.run_epoch()
        if sitting is not None:
            sitting.after_epoch()
        if on_epoch is not None:
            on_epoch(trainer.epoch, config.max_epochs)
    return _outcome(trainer, standard, exact=sitting is None or sitting.exact)


class _Sitting:
    """What lies between two kills: resumed from a checkpoint, leaving checkpoints behind."""

    def __init__(self, trainer: Trainer, path: Path, job: str) -> None:
        self.trainer, self.path, self.job = trainer, path, job
        self.exact = True
        self.before: dict[str, Any] | None = None
        self.saved = time.monotonic()
        state = checkpoints.load(path, job, trainer.device)
        if state is not None:
            trainer.restore(state)
            self.exact, self.before = state["exact"], state["conditions"]

    def after_epoch(self) -> None:
        """Judge the conditions, known only now as compiling may have failed; save where due."""
        if self.before is not None:
            self._compare(self.before)
            self.before = None
        due = time.monotonic() - self.saved >= self.trainer.config.checkpoint_seconds
        if due and not self.trainer.done:
            state = {**self.trainer.state(), "exact": self.exact}
            checkpoints.save(self.path, self.job, state)
            self.saved = time.monotonic()

    def _compare(self, before: dict[str, Any]) -> None:
        changed = differences(before, self.trainer.conditions())
        if changed:
            self.exact = False
            say(f"training resumed under other conditions ({changed}): its last digits may differ")


def _check(
    features: Tensor, labels: Tensor, split: Split, runs: Sequence[Run], classes: int
) -> None:
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
    if classes < 2 or int(mine.min()) < 0 or int(mine.max()) >= classes:
        raise WsaError(
            f"labels must lie in 0 .. {classes - 1} with at least two classes; "
            f"got {int(mine.min())} .. {int(mine.max())}"
        )


def _outcome(trainer: Trainer, standard: Standard, exact: bool) -> Outcome:
    trainer.restore_best()
    chances = {name: _probabilities(trainer, name) for name in PARTS}
    answers = {name: trainer.parts[name].labels.cpu().numpy() for name in PARTS}
    stopping = trainer.stopping
    runs = [
        {
            "seed": run.seed,
            "shuffled": run.shuffled,
            "epochs": stopping.epochs[index],
            "best_epoch": stopping.best_epoch[index],
            **{name: measure(answers[name][index], chances[name][index]) for name in PARTS},
        }
        for index, run in enumerate(trainer.runs)
    ]
    held_out = ("val", "test")
    return Outcome(
        runs=runs,
        columns_kept=len(standard.kept),
        columns_constant=standard.constant,
        conditions=trainer.conditions(),
        exact_resume=exact,
        warnings=[*trainer.step.warnings, *_untrained(runs)],
        probabilities={name: chances[name] for name in held_out},
        labels={name: answers[name] for name in held_out},
        weights=trainer.best,
        standard=standard,
    )


def _probabilities(trainer: Trainer, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    logits = trainer.logits(trainer.parts[name].features)  # [S, n, K]
    chances: np.ndarray[Any, np.dtype[np.float64]] = logits.double().softmax(-1).cpu().numpy()
    return chances


def _untrained(runs: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"seed {run['seed']}: no epoch had a finite validation loss; its metrics are those of "
        "untrained weights; lower the learning rate"
        for run in runs
        if run["best_epoch"] == 0
    ]
