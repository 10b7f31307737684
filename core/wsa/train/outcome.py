"""What a training gives back: the runs, their metrics, their weights and how they came about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsa.train.scores import primary_score, score
from wsa.train.split import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from wsa.train.goal import Goal
    from wsa.train.standardise import Standard
    from wsa.train.trainer import Trainer


CURE = "lower --learning-rate or --weight-decay"  # of a loss that becomes no number
Measure = Callable[["Goal", "NDArray[Any]", "NDArray[Any]"], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """One seed; `shuffled` makes it the control, which learns permuted labels."""

    seed: int
    shuffled: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of training S runs on one task."""

    runs: list[dict[str, Any]]
    columns_kept: int
    columns_constant: int
    conditions: dict[str, Any]
    exact_resume: bool
    warnings: list[str]
    goal: Goal
    # [S, n, K] of "val" and "test", in the order of the split, of a number its prediction [S, n];
    # [S, n] the labels they were held to.
    probabilities: dict[str, NDArray[np.float64]] = field(repr=False)
    labels: dict[str, NDArray[np.int64]] = field(repr=False)
    weights: dict[str, Tensor] = field(repr=False)  # the best state, [S, ...] each
    standard: Standard = field(repr=False)
    # what steps and compilations took, in seconds: told beside results, which do not depend on it
    measured: dict[str, float] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return all but arrays, as results.json holds it."""
        return {
            "runs": self.runs,
            "columns_kept": self.columns_kept,
            "columns_constant": self.columns_constant,
            "conditions": self.conditions,
            "exact_resume": self.exact_resume,
            "warnings": self.warnings,
        }


def collect(
    trainer: Trainer,
    standard: Standard,
    exact: bool,
    brief: bool = False,
    measured: dict[str, float] | None = None,
) -> Outcome:
    """Measure every run at its best epoch; `brief`: by the primary metric alone."""
    trainer.restore_best()
    goal = trainer.goal
    answers = {name: goal.answers(trainer.outputs(name)) for name in PARTS}
    truth = {name: trainer.parts[name].labels.cpu().numpy() for name in PARTS}
    measure = primary_score if brief else score
    runs = scored(goal, _histories(trainer), truth, answers, measure)
    return Outcome(
        runs=runs,
        goal=goal,
        columns_kept=len(standard.kept),
        columns_constant=standard.constant,
        conditions=trainer.conditions(),
        exact_resume=exact,
        warnings=[*_memory(trainer), *trainer.step.warnings, *_untrained(runs)],
        probabilities={name: answers[name] for name in ("val", "test")},
        labels={name: truth[name] for name in ("val", "test")},
        weights=trainer.weights(),
        standard=standard,
        measured=dict(measured or {}),
    )


def scored(
    goal: Goal,
    told: Sequence[dict[str, Any]],
    truth: dict[str, NDArray[Any]],
    answers: dict[str, NDArray[Any]],
    measure: Measure = score,
) -> list[dict[str, Any]]:
    """Add to what is told of each run its metrics on each part."""
    return [
        each | {name: measure(goal, truth[name][run], answers[name][run]) for name in PARTS}
        for run, each in enumerate(told)
    ]


def _histories(trainer: Trainer) -> list[dict[str, Any]]:
    stopping = trainer.stopping
    columns = (trainer.runs, stopping.epochs, stopping.best_epoch, stopping.failed)
    return [
        {
            "seed": run.seed,
            "shuffled": run.shuffled,
            "epochs": epochs,
            "best_epoch": best,
            "failed_epoch": failed,
        }
        for run, epochs, best, failed in zip(*columns, strict=True)
    ]


def _memory(trainer: Trainer) -> list[str]:
    """Say what was done for want of memory."""
    batch = trainer.more.get("batch_size")
    lowered = [] if batch is None else [f"batches of {batch}: larger ones did not fit the memory"]
    streamed = ["features on the host, batches streamed: they do not fit the device"]
    return lowered + (streamed if "stream" in trainer.more else [])


def _untrained(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Say who failed, and who never trained; the seeds of many probes alike are told once."""
    diverged = [
        f"{_name(run)} failed at epoch {run['failed_epoch']}: its loss is no number; the "
        f"others go on; {CURE}"
        for run in runs
        if run["failed_epoch"] is not None
    ]
    untrained = [
        f"{_name(run)}: no epoch had a finite validation loss; its metrics are those of "
        f"untrained weights, and do not count; {CURE}"
        for run in runs
        if run["best_epoch"] == 0
    ]
    return list(dict.fromkeys(diverged + untrained))


def _name(run: dict[str, Any]) -> str:
    return "the shuffled control" if run["shuffled"] else f"seed {run['seed']}"
