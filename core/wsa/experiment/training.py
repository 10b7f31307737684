"""Training: one task, by its head, on the columns that its layers have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from wsa.experiment.preparation import train_config
from wsa.train import MLP, Goal, Outcome, Run, Split, fit_head, train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from wsa.experiment.config import RunConfig
    from wsa.experiment.labels import Labels
    from wsa.experiment.plan import Task
    from wsa.extraction import Features

# A probe reads the columns of one layer or a few: 64 hidden units learn them, 512 take 20 times
# the arithmetic of 128 layers x 10 seeds.
PROBE_HIDDEN = 64


@dataclass(frozen=True)
class Trained:
    """A task's outcome, and which columns each of its runs read, where they differ."""

    outcome: Outcome
    columns: int
    layers: list[tuple[str, ...]] | None  # of each run


def train_task(
    task: Task,
    features: Features,
    labels: Labels,
    split: Split,
    config: RunConfig,
    device: torch.device,
    checkpoint: Path,
    on_epoch: Callable[[int, int], None],
) -> Trained:
    """Train the seeds of one task; a control's seeds take turns over its random sets."""
    runs, layers = runs_of(task, config)
    wanted = set(task.layers).union(*task.draws)
    used = [index for index, column in enumerate(features.columns) if column.layer in wanted]
    places = [features.columns[index].layer for index in used]
    job = _Job(
        features.values[:, used],
        torch.from_numpy(labels.targets),
        split,
        runs,
        labels.goal,
        None if layers is None else [_places(places, set(mine)) for mine in layers],
        device,
    )
    outcome = job.train(task, config, checkpoint, on_epoch)
    return Trained(outcome, sum(place in task.layers for place in places), layers)


@dataclass(frozen=True)
class _Job:
    """What a head is trained on."""

    values: Tensor
    targets: Tensor
    split: Split
    runs: list[Run]
    goal: Goal
    columns: list[list[int]] | None
    device: torch.device

    def train(
        self,
        task: Task,
        config: RunConfig,
        checkpoint: Path,
        on_epoch: Callable[[int, int], None],
    ) -> Outcome:
        """Train the task's head; the packed network may be interrupted, the others start anew."""
        given = (self.values, self.targets, self.split, self.runs, self.goal)
        if task.head != MLP:
            return fit_head(task.head, *given, self.columns)
        knobs, brief = train_config(config), bool(task.probes)
        if brief:
            knobs = replace(knobs, hidden_dim=min(PROBE_HIDDEN, knobs.hidden_dim))
        return train(*given, knobs, checkpoint, on_epoch, self.columns, brief, self.device)


def runs_of(task: Task, config: RunConfig) -> tuple[list[Run], list[tuple[str, ...]] | None]:
    """Return the runs of a task, a shuffled-label control last, and the layers each one reads.

    A control has a seed for each of its random sets, at least: seed s reads set s, and over again.
    """
    seeds = [Run(seed) for seed in range(max(config.runs, len(task.draws)))]
    runs = [*seeds, Run(0, shuffled=True)]
    if task.probes:
        each = [(run, probe.layers) for probe in task.probes for run in runs]
        return [run for run, _ in each], [layers for _, layers in each]
    if task.draws:
        return runs, [task.draws[run.seed % len(task.draws)] for run in runs]
    return runs, None


def _places(places: Sequence[str], layers: set[str]) -> list[int]:
    return [index for index, place in enumerate(places) if place in layers]
