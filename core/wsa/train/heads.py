"""Heads: honest baselines beside the packed network, on the same split, seeds and features."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsa import interruption
from wsa.errors import unknown
from wsa.train import baselines
from wsa.train.goal import REGRESSION, as_goal
from wsa.train.loop import check, fitted
from wsa.train.outcome import Outcome, scored
from wsa.train.parts import arrange
from wsa.train.split import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from wsa.train.baselines import Answers, Data, Fit
    from wsa.train.goal import Goal
    from wsa.train.outcome import Run
    from wsa.train.parts import Part
    from wsa.train.split import Split
    from wsa.train.standardise import Standard

MLP = "mlp"
FITS: dict[str, Fit] = {"linear": baselines.linear, "knn": baselines.knn, "gbm": baselines.gbm}
HEADS = (MLP, *FITS)
# Those in which the seed draws nothing: one fit serves every seed.
DETERMINISTIC = ("linear", "knn")


def known_head(name: str) -> str:
    """Return a head's name; raises WsaError where there is none of that name."""
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    return name


def fit_head(
    head: str,
    features: Tensor,
    labels: Tensor,
    split: Split,
    runs: Sequence[Run],
    goal: Goal | int,
    columns: Sequence[Sequence[int]] | None = None,
) -> Outcome:
    """Fit S runs of one baseline as `train` trains the network; validation alone chooses.

    Each fit has one thread, and so the same bytes on any machine's number of them; runs are
    fitted side by side.
    """
    goal = fitted(as_goal(goal), labels, split)
    check(features, labels, split, runs, goal)
    standard, parts = arrange(features.cpu(), labels.cpu(), split, runs, columns)
    return _outcome(standard, parts, runs, goal, _fit_all(head, parts, runs, goal))


def _outcome(
    standard: Standard,
    parts: dict[str, Part],
    runs: Sequence[Run],
    goal: Goal,
    answers: Sequence[tuple[Answers, dict[str, Any]]],
) -> Outcome:
    truth = {name: parts[name].labels.numpy() for name in PARTS}
    found = {name: np.stack([each[0][name] for each in answers]) for name in PARTS}
    told = [_told(run, each[1]) for run, each in zip(runs, answers, strict=True)]
    return Outcome(
        runs=scored(goal, told, truth, found),
        goal=goal,
        columns_kept=len(standard.kept),
        columns_constant=standard.constant,
        conditions={"scikit_learn": version("scikit-learn"), "device": "cpu"},
        exact_resume=True,
        warnings=[],
        probabilities={name: found[name] for name in ("val", "test")},
        labels={name: truth[name] for name in ("val", "test")},
        weights={},
        standard=standard,
    )


def _told(run: Run, choice: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "shuffled": run.shuffled,
        "epochs": None,
        "best_epoch": None,
        "failed_epoch": None,
        "chosen": choice,
    }


def _fit_all(
    head: str, parts: dict[str, Part], runs: Sequence[Run], goal: Goal
) -> list[tuple[Answers, dict[str, Any]]]:
    """Fit every run, once for all those that would be fitted alike."""
    keys = [_key(head, parts, index, run) for index, run in enumerate(runs)]
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        waiting = {
            key: pool.submit(_fit, head, _data(parts, index), goal, runs[index].seed)
            for key, index in first.items()
        }
        return [waiting[key].result() for key in keys]
    finally:
        # a fit cannot be interrupted; who ends for a signal does not wait for it
        pool.shutdown(wait=not interruption.ended(), cancel_futures=True)


def _fit(head: str, data: Data, goal: Goal, seed: int) -> tuple[Answers, dict[str, Any]]:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        answers, choice = FITS[head](_scaled(data, goal), goal, seed)
    if goal.kind == REGRESSION:
        answers = {name: goal.unscaled(each) for name, each in answers.items()}
    return answers, choice


def _scaled(data: Data, goal: Goal) -> Data:
    """Return a number's labels about the training part's mean, in its standard deviations.

    Ridge computes in the features' float32, in which a time of 1.7e9 seconds has steps of 128.
    """
    if goal.kind != REGRESSION:
        return data
    return {name: (x, goal.scaled(y)) for name, (x, y) in data.items()}


def _key(head: str, parts: dict[str, Part], index: int, run: Run) -> Any:
    columns = parts["train"].columns
    mine = () if columns is None else tuple(columns[index].tolist())
    seed = None if head in DETERMINISTIC and not run.shuffled else run.seed
    return mine, run.shuffled, seed


def _data(parts: dict[str, Part], index: int) -> Data:
    """Return what one run reads, and its labels, part by part."""
    found = {}
    for name, part in parts.items():
        values = part.features
        if part.columns is not None:
            values = values[:, part.columns[index]]
        found[name] = (values.numpy(), part.labels[index].numpy())
    return found
