"""One training in motion: an epoch, its verdict on every seed, and the state between epochs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from wsa.generators import generator, own_seed
from wsa.train import accelerator
from wsa.train.compiling import bucket
from wsa.train.conditions import conditions, precision
from wsa.train.feed import Feed, Stream
from wsa.train.goal import as_goal
from wsa.train.packed import PackedModel
from wsa.train.step import Step
from wsa.train.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from wsa.train.accelerator import Work
    from wsa.train.config import TrainConfig
    from wsa.train.goal import Goal
    from wsa.train.outcome import Run
    from wsa.train.parts import Part

# Steps timed where a measurement decides: 2 ms of the smallest.
TIMED_STEPS = 10


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
        self,
        parts: dict[str, Part],
        runs: Sequence[Run],
        goal: Goal | int,
        config: TrainConfig,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a training; `more` are the conditions that were decided before it."""
        self.runs, self.config, self.goal = runs, config, as_goal(goal)
        self.more = dict(more or {})
        compiled, widths = bool(config.compile), parts["train"].widths(len(runs))
        width = bucket(max(widths)) if compiled else 0
        if width > max(widths):
            parts = {name: part.padded(width) for name, part in parts.items()}
            self.more["padded_columns"] = width
        self.parts, train = parts, parts["train"]
        self.device = train.labels.device
        self.sizes = batch_sizes(len(train.features), config.batch_size)
        seeds = [run.seed for run in runs]
        model = PackedModel(seeds, widths, self.goal.outputs, config.hidden_dim, width)
        dtype = precision(config.amp, self.device)
        self.step = Step(model.to(self.device), config, dtype, compiled, self.goal)
        self.stopping = Stopping(len(runs), config.patience, self.goal.gain)
        self.best = {name: value.clone() for name, value in model.state().items()}
        self.epoch = 0
        self.graph = accelerator.records(self.device) and config.graph is not False
        feed = Stream if train.features.device != self.device or config.stream else Feed
        self.feed = feed(train, max(self.sizes))
        self._hold(list(range(len(runs))))

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
        graph = {"graph": self.graph} if accelerator.records(self.device) else {}
        return conditions(self.device, self.step.dtype, self.step.compiled, self.more | graph)

    def run_epoch(self) -> None:
        """Train one epoch and judge it; the host waits for the device once, at the end."""
        self.epoch += 1
        strides = self._strides()
        for run, draw in zip(self.held, self.draws, strict=True):
            draw.manual_seed(own_seed("dropout", self.runs[run].seed, self.epoch))
        self.feed.begin(self._orders())
        for size in self.sizes:
            self.feed.ready(size)
            strides[size]()
        improved = self.stopping.record(self._losses())
        self._remember(improved)
        self._release()

    def _hold(self, runs: Sequence[int]) -> None:
        """Train these runs from now on; what was recorded for others is of no use."""
        self.held = list(runs)  # the runs in the model, in its order
        self.draws = [torch.Generator(self.device) for _ in runs]
        self.feed.hold(runs)
        self._ready: dict[int, Work] = {}

    def _strides(self) -> dict[int, Work]:
        """Return what takes a step, by the size of its batch: recorded, where the device records.

        At most two sizes differ, by one adapter.
        """
        if not self._ready:
            plain = {size: partial(self.stride, size) for size in dict.fromkeys(self.sizes)}
            self._ready = self._recorded(plain) if self.graph else dict(plain)
        return self._ready

    def stride(self, size: int) -> None:
        """Train on the next batch: all of it on the device, from buffers that stay in place."""
        values, labels = self.feed.take(size)
        self.step.take(values, labels, self.draws)

    def _recorded(self, plain: Mapping[int, Work]) -> dict[int, Work]:
        """Record the steps; every step that counts is a replay, so that a kill changes no bit."""
        with self.step.unchanged():
            for size in plain:
                accelerator.warm_up(partial(self._rehearse, size), self.device)
        try:
            return accelerator.recorded(plain, self.draws)
        except accelerator.NotRecorded as problem:
            self.graph = False
            self.step.give_up_graph()
            self.draws = [torch.Generator(self.device) for _ in self.held]
            self.step.warnings.append(f"no CUDA graph, trained step by step: {problem}")
            return dict(plain)

    def _rehearse(self, size: int) -> None:
        self.feed.position.zero_()
        self.stride(size)

    def step_seconds(self) -> float:
        """Measure a step of the largest batch; nothing of it stays."""
        size = self.sizes[0]
        stride = self._strides()[size]

        def again() -> None:
            self.feed.position.zero_()
            stride()

        with self.step.unchanged():
            return accelerator.seconds(again, TIMED_STEPS, self.device)

    def _orders(self) -> Tensor:
        """Return this epoch's order of the training adapters, [S, n]."""
        count = len(self.parts["train"].features)
        seeds = [self.runs[run].seed for run in self.held]
        draws = [generator("order", seed, self.epoch, self.device) for seed in seeds]
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
        if not improved:
            return
        places = [self.held.index(run) for run in improved]
        here, there = (torch.tensor(each, device=self.device) for each in (places, improved))
        for name, value in self.model.state().items():
            # two launches a tensor, however many runs: one each would be 121 of eleven runs
            self.best[name].index_copy_(0, there, value.index_select(0, here))

    def _release(self) -> None:
        """Drop stopped runs from the model, as far as its shapes are not paid for."""
        active = self.stopping.active
        if not active or active == self.held or self._stays(active):
            return
        self.step.keep(torch.tensor([self.held.index(run) for run in active], device=self.device))
        self._hold(active)

    def _stays(self, active: Sequence[int]) -> bool:
        """Tell whether stopped runs stay: a compiled form, or a graph, is for all that are held.

        A graph is recorded anew once half of its runs have stopped. A run that failed goes at
        once where gradients are scaled: its infinities would stop every other run's steps.
        """
        failed = any(self.stopping.failed[run] is not None for run in self.held)
        if failed and self.step.scaler.is_enabled():
            return False
        return self.step.compiled or (self.graph and 2 * len(active) > len(self.held))

    def restore_best(self) -> None:
        """Put every run back at its best epoch."""
        self.held = list(range(len(self.runs)))
        self.model.take(self.best)

    def weights(self) -> dict[str, Tensor]:
        """Return the best state of every run, [S, ...] each."""
        return self.model.trimmed(self.best)

    def state(self) -> dict[str, Any]:
        """Return everything the coming epochs depend on."""
        return {
            "epoch": self.epoch,
            "held": self.held,
            "stopping": self.stopping.state(),
            "best": self.weights(),
            "step": self.step.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of an earlier sitting."""
        self.epoch, self.best = state["epoch"], self.model.widened(state["best"])
        self.stopping.restore(state["stopping"])
        self.step.restore(state["step"])
        self._hold(state["held"])
