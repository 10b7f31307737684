"""One training in motion: an epoch, its verdict on every seed, and the state between epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from wsa.generators import generator
from wsa.train.conditions import compiles, conditions, precision
from wsa.train.goal import as_goal
from wsa.train.packed import PackedModel
from wsa.train.step import Step
from wsa.train.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from wsa.train.config import TrainConfig
    from wsa.train.goal import Goal
    from wsa.train.outcome import Run
    from wsa.train.parts import Part


def batch_sizes(adapters: int, batch: int) -> list[int]:
    """Return the sizes of an epoch's batches: equal to within one, none of a single adapter.

    280 adapters at 256 are 140 and 140 rather than 256 and 24, whose BatchNorm statistics would
    be noise. Three adapters at 2 are one batch of 3.
    """
    count = max(1, min(-(-adapters // batch), adapters // 2))
    return [adapters // count + (index < adapters % count) for index in range(count)]


class Trainer:
    """S runs trained side by side; a run that has stopped leaves the packed model."""

    def __init__(
        self, parts: dict[str, Part], runs: Sequence[Run], goal: Goal | int, config: TrainConfig
    ) -> None:
        self.parts, self.runs, self.config, self.goal = parts, runs, config, as_goal(goal)
        train = parts["train"].features
        self.device = train.device
        self.sizes = batch_sizes(len(train), config.batch_size)
        seeds, widths = [run.seed for run in runs], parts["train"].widths(len(runs))
        model = PackedModel(seeds, widths, self.goal.outputs, config.hidden_dim).to(self.device)
        dtype = precision(config.amp, self.device)
        compiled = compiles(config.compile, self.device, config.max_epochs * len(self.sizes))
        self.step = Step(model, config, dtype, compiled, self.goal)
        self.stopping = Stopping(len(runs), config.patience, self.goal.gain)
        self.held = list(range(len(runs)))  # the runs in the model, in its order
        self.best = {name: value.clone() for name, value in model.state().items()}
        self.epoch = 0

    @property
    def model(self) -> PackedModel:
        """The packed model of the runs still held."""
        return self.step.model

    @property
    def done(self) -> bool:
        """Whether every run has stopped."""
        return not self.stopping.active or self.epoch >= self.config.max_epochs

    def conditions(self) -> dict[str, Any]:
        """Return what may change bits, as it turned out so far."""
        return conditions(self.device, self.step.dtype, self.step.compiled)

    def run_epoch(self) -> None:
        """Train one epoch and judge it; the host waits for the device once, at the end."""
        self.epoch += 1
        part = self.parts["train"]
        labels = part.labels[self.held]
        masks = self._generators("dropout")
        for rows in torch.split(self._orders(), self.sizes, dim=1):
            self.step.take(part.batch(self.held, rows), labels.gather(1, rows), masks)
        improved = self.stopping.record(self._losses())
        self._remember(improved)
        self._release()

    def _generators(self, purpose: str) -> list[torch.Generator]:
        seeds = [self.runs[run].seed for run in self.held]
        return [generator(purpose, seed, self.epoch, self.device) for seed in seeds]

    def _orders(self) -> Tensor:
        """Return this epoch's order of the training adapters, [S, n]."""
        count = len(self.parts["train"].features)
        draws = self._generators("order")
        orders = [torch.randperm(count, generator=draw, device=self.device) for draw in draws]
        return torch.stack(orders)

    def _losses(self) -> dict[int, float]:
        """Return the validation loss of each run held."""
        part = self.parts["val"]
        losses = self.goal.loss(self.outputs("val"), part.labels[self.held]).mean(1)
        return dict(zip(self.held, losses.tolist(), strict=True))

    def outputs(self, part: str) -> Tensor:
        """Return the outputs of every run held on one part of the split, [S, n, O]."""
        here = self.parts[part]
        with self.step.autocast():
            return self.model.evaluate(here.features, here.of(self.held))

    def _remember(self, improved: Sequence[int]) -> None:
        """Copy the state of the runs that improved: a copy, as the next step writes in place."""
        for name, value in self.model.state().items():
            for run in improved:
                self.best[name][run].copy_(value[self.held.index(run)])

    def _release(self) -> None:
        """Drop stopped runs from the model, unless its shapes are compiled in."""
        active = self.stopping.active
        if self.step.compiled or not active or active == self.held:
            return
        self.step.keep(torch.tensor([self.held.index(run) for run in active], device=self.device))
        self.held = list(active)

    def restore_best(self) -> None:
        """Put every run back at its best epoch."""
        self.held = list(range(len(self.runs)))
        self.model.take(self.best)

    def state(self) -> dict[str, Any]:
        """Return everything the coming epochs depend on."""
        return {
            "epoch": self.epoch,
            "held": self.held,
            "stopping": self.stopping.state(),
            "best": self.best,
            "step": self.step.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of an earlier sitting."""
        self.epoch, self.held, self.best = state["epoch"], state["held"], state["best"]
        self.stopping.restore(state["stopping"])
        self.step.restore(state["step"])
