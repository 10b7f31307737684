"""Runs dealt out to the cores of a CPU: each lane a packed model of its own, on one thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import torch

from wsa.train.conditions import conditions
from wsa.train.parts import Part
from wsa.train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from wsa.train.config import TrainConfig
    from wsa.train.outcome import Run

# Multiplications of a batch in the first layer below which lanes would wait for Python's lock.
WORTH_LANES = 1 << 22


def deal(runs: int, parts: dict[str, Part], config: TrainConfig) -> list[list[int]]:
    """Return the runs of each lane: one lane on a GPU, one a core where a batch is large.

    A core to itself beats sharing every product: the threads of an OpenMP team wait for each
    other by spinning, and beside one busy neighbour on two cores a step took 60 times as long.
    """
    features = parts["train"].features
    batch = min(len(features), config.batch_size)
    large = batch * features.shape[1] * config.hidden_dim >= WORTH_LANES
    alone = features.device.type != "cpu" or config.compile or not large
    count = 1 if alone else min(torch.get_num_threads(), runs)
    return [list(range(lane, runs, count)) for lane in range(count)]


class Lanes:
    """The trainers of all lanes, moved forward epoch by epoch, together."""

    def __init__(
        self,
        parts: dict[str, Part],
        runs: Sequence[Run],
        classes: int,
        config: TrainConfig,
        shares: Sequence[Sequence[int]],
    ) -> None:
        self.parts, self.runs, self.shares = parts, runs, [list(share) for share in shares]
        self.trainers = [
            Trainer(_share(parts, share), [runs[run] for run in share], classes, config)
            for share in self.shares
        ]
        apart = parts["train"].features.device.type == "cpu" and not config.compile
        self._threads = _single_core_threads(len(self.shares)) if apart else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        if self._threads is not None:
            self._threads.shutdown()

    @property
    def epoch(self) -> int:
        """How many epochs the longest lane has run."""
        return max(trainer.epoch for trainer in self.trainers)

    @property
    def done(self) -> bool:
        """Whether every run has stopped."""
        return all(trainer.done for trainer in self.trainers)

    def run_epoch(self) -> None:
        """Train every lane that is not done for one epoch."""
        self._each(lambda trainer: None if trainer.done else trainer.run_epoch())

    def restore_best(self) -> None:
        """Put every run back at its best epoch."""
        self._each(Trainer.restore_best)

    def logits(self, part: str) -> Tensor:
        """Return the logits of every run on one part, [S, n, K]."""
        features = self.parts[part].features
        return self._in_order(self._each(lambda trainer: trainer.logits(features)))

    def weights(self) -> dict[str, Tensor]:
        """Return the best state of every run, [S, ...] by name."""
        best = [trainer.best for trainer in self.trainers]
        return {name: self._in_order([state[name] for state in best]) for name in best[0]}

    def by_run(self, value: Callable[[Trainer], Sequence[int]]) -> list[int]:
        """Return a number of each run, in order, from the numbers of each lane."""
        pairs = zip(self.shares, self.trainers, strict=True)
        found = {run: n for share, lane in pairs for run, n in zip(share, value(lane), strict=True)}
        return [found[run] for run in range(len(self.runs))]

    def conditions(self) -> dict[str, Any]:
        """Return what may change bits, as it turned out so far."""
        first = self.trainers[0]
        return conditions(first.device, first.step.dtype, first.step.compiled)

    def warnings(self) -> list[str]:
        """Return what the user should know, each thing once."""
        return list(dict.fromkeys(text for lane in self.trainers for text in lane.step.warnings))

    def state(self) -> dict[str, Any]:
        """Return everything the coming epochs depend on."""
        return {"shares": self.shares, "trainers": [each.state() for each in self.trainers]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of an earlier sitting with the same shares."""
        for trainer, each in zip(self.trainers, state["trainers"], strict=True):
            trainer.restore(each)

    def _each(self, work: Callable[[Trainer], Any]) -> list[Any]:
        return list((self._threads.map if self._threads else map)(work, self.trainers))

    def _in_order(self, lanes: Sequence[Tensor]) -> Tensor:
        """Join what lanes hold of their runs, [S of the lane, ...], in the order of all runs."""
        dealt = [run for share in self.shares for run in share]
        order = sorted(range(len(dealt)), key=dealt.__getitem__)
        return torch.cat(list(lanes))[order]


def _share(parts: dict[str, Part], share: Sequence[int]) -> dict[str, Part]:
    return {name: Part(part.features, part.labels[list(share)]) for name, part in parts.items()}


def _single_core_threads(count: int) -> ThreadPoolExecutor:
    """Return threads that compute on one core each; the caller's own setting stays as it is."""
    setting = torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def prepare() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread takes the process's setting at its first use: now
        ready.wait()

    threads = ThreadPoolExecutor(count, "wsa-lane", prepare)
    for _ in range(count):
        threads.submit(int)
    ready.wait()
    torch.set_num_threads(setting)
    return threads
