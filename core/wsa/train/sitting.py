"""Sittings: one job through any number of kills, and through a memory too small for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wsa import interruption
from wsa.errors import differences
from wsa.progress import say
from wsa.train import accelerator
from wsa.train import checkpoint as checkpoints
from wsa.train.compiling import USUAL_EPOCHS, forms, worth
from wsa.train.conditions import open_to_compiling
from wsa.train.memory import USABLE, halved, needed_bytes, out_of_memory
from wsa.train.outcome import collect
from wsa.train.parts import arrange
from wsa.train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor

    from wsa.train.config import TrainConfig
    from wsa.train.goal import Goal
    from wsa.train.outcome import Outcome, Run
    from wsa.train.parts import Part
    from wsa.train.split import Split
    from wsa.train.standardise import Standard

    OnEpoch = Callable[[int, int], None]


@dataclass
class Job:
    """What is trained on, and where; its features lie on the device, or stream there."""

    features: Tensor
    labels: Tensor
    split: Split
    runs: Sequence[Run]
    goal: Goal
    columns: Sequence[Sequence[int]] | None
    config: TrainConfig
    device: torch.device

    def __post_init__(self) -> None:
        self.stream = bool(self.config.stream)
        if self.config.stream is None and self.device.type == "cuda":
            needed = needed_bytes(self.features, len(self.runs), self.goal.outputs, self.config)
            self.stream = needed > USABLE * accelerator.free_bytes(self.device)

    @cached_property
    def arranged(self) -> tuple[Standard, dict[str, Part]]:
        """Return the three parts, standardised where they will lie."""
        features = self.features.cpu() if self.stream else self.features.to(self.device)
        labels = self.labels.to(self.device)
        return arrange(features, labels, self.split, self.runs, self.columns)

    def keep_on_host(self) -> bool:
        """Let features stream that were refused a place on the device; tell whether that is new."""
        new = accelerator.records(self.device) and not self.stream and "arranged" not in vars(self)
        self.stream |= new
        return new

    def trainer(self, batch: int, compiled: bool) -> Trainer:
        """Return a training at its beginning."""
        config = replace(self.config, batch_size=batch, compile=compiled, stream=self.stream)
        lowered = {"batch_size": batch} if batch < self.config.batch_size else {}
        streamed = {"stream": True} if self.stream else {}
        return Trainer(self.arranged[1], self.runs, self.goal, config, lowered | streamed)


class Sitting:
    """What lies between two kills: resumed from a checkpoint, leaving checkpoints behind."""

    def __init__(self, job: Job, path: Path | None, digest: str) -> None:
        self.job, self.path, self.digest = job, path, digest
        self.batch, self.compiled = job.config.batch_size, job.config.compile
        self.exact = True
        self.before: dict[str, Any] | None = None
        self.saved = time.monotonic()
        self.measured: dict[str, float] = {}

    def outcome(self, on_epoch: OnEpoch | None, brief: bool) -> Outcome:
        """Train from where the last sitting was to the end, in ever smaller batches if need be."""
        state = None
        if self.path is not None:
            state = checkpoints.load(self.path, self.digest, self.job.device)
        while True:
            try:
                return self._attempt(state, on_epoch, brief)
            except (RuntimeError, MemoryError) as problem:
                if not out_of_memory(problem):
                    raise
            # out here the error is gone, and with it the frames that held the attempt's memory
            state = None
            self._lower()

    def _attempt(
        self, state: dict[str, Any] | None, on_epoch: OnEpoch | None, brief: bool
    ) -> Outcome:
        if state is not None:
            self._take_over(state)
        spent = forms.spent
        trainer = self._begun()
        if state is not None:
            trainer.restore(state["trainer"])
        elif self.batch < self.job.config.batch_size:
            # whoever goes on after a kill shall not try the larger batches again
            self._save(trainer)
        self._finish(trainer, on_epoch)
        if forms.spent > spent:
            self.measured["compile_seconds"] = forms.spent - spent
        return collect(trainer, self.job.arranged[0], self.exact, brief, self.measured)

    def _take_over(self, state: dict[str, Any]) -> None:
        """Keep to what the last sitting decided, unless it is decided otherwise by now."""
        self.exact, self.before = bool(state["exact"]), state["conditions"]
        self.batch = state["batch_size"]
        if self.job.config.stream is None:
            self.job.stream = self.before.get("stream", False)
        if open_to_compiling(self.compiled, self.job.device):
            self.compiled = self.before["compile"]

    def _begun(self) -> Trainer:
        trainer = self.job.trainer(self.batch, bool(self.compiled))
        if not open_to_compiling(self.compiled, self.job.device):
            return trainer
        plain = self.measured["step_seconds"] = trainer.step_seconds()
        epochs = min(trainer.config.max_epochs, USUAL_EPOCHS)
        self.compiled = worth.pays(plain, epochs * len(trainer.sizes))
        if self.compiled:
            del trainer  # two at once might not fit
            trainer = self._compiled(plain)
        return trainer

    def _compiled(self, plain: float) -> Trainer:
        """Return a compiled training, and learn from it what compiling costs and saves."""
        trainer, spent = self.job.trainer(self.batch, compiled=True), forms.spent
        taken = self.measured["compiled_step_seconds"] = trainer.step_seconds()
        if trainer.step.compiled and forms.spent > spent:
            worth.learn(forms.spent - spent, plain, taken)
        return trainer

    def _lower(self) -> None:
        """Begin anew with half the batch: then all is as if that had been asked for."""
        self.exact, self.before = True, None
        accelerator.release_memory(self.job.device)
        if self.job.keep_on_host():
            say("out of memory for the features; they stay on the host, and batches travel")
            return
        batch, self.batch = self.batch, halved(self.batch)
        say(f"out of memory in batches of {batch}; the task starts anew in batches of {self.batch}")

    def _finish(self, trainer: Trainer, on_epoch: OnEpoch | None) -> None:
        """Train until every run has stopped."""
        with interruption.watched():
            while not trainer.done:
                trainer.run_epoch()
                # asked once: a signal that comes later waits for the next epoch, and its save
                last = interruption.requested()
                self._after_epoch(trainer, last)
                if on_epoch is not None:
                    on_epoch(trainer.epoch, trainer.config.max_epochs)
                if last:
                    interruption.stop()

    def _after_epoch(self, trainer: Trainer, last: bool) -> None:
        """Judge the conditions, known only now as compiling may have failed; save where due."""
        if self.before is not None:
            self._compare(self.before, trainer.conditions())
            self.before = None
        due = time.monotonic() - self.saved >= trainer.config.checkpoint_seconds
        if (due or last) and not trainer.done:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if self.path is None:
            return
        state = {
            "trainer": trainer.state(),
            "conditions": trainer.conditions(),
            "exact": self.exact,
            "batch_size": self.batch,
        }
        checkpoints.save(self.path, self.digest, state)
        self.saved = time.monotonic()

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        changed = differences(before, now)
        if changed:
            self.exact = False
            told = ", ".join(changed)
            say(f"training resumed under other conditions ({told}): its last digits may differ")
