"""Scores: the metrics that belong to a goal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.train.goal import CLASSES, ORDINAL
from wsa.train.levels import kappa_quadratic, measure_levels
from wsa.train.metrics import measure
from wsa.train.numbers import measure_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsa.train.goal import Goal


def score(goal: Goal, truth: NDArray[Any], answers: NDArray[Any]) -> dict[str, Any]:
    """Return every metric of one run on one part of the split."""
    measures = {CLASSES: measure, ORDINAL: measure_levels}
    found: dict[str, Any] = measures.get(goal.kind, measure_numbers)(truth, answers)
    return found


def primary_score(goal: Goal, truth: NDArray[Any], answers: NDArray[Any]) -> dict[str, Any]:
    """Return the primary metric alone: a layer map has thousands of runs, at 8 ms for all."""
    if goal.kind == CLASSES:
        return {goal.primary: float(np.mean(answers.argmax(axis=-1) == truth))}
    if goal.kind == ORDINAL:
        return {goal.primary: kappa_quadratic(truth, answers.argmax(axis=-1))}
    spread = float(truth.var())
    return {goal.primary: 1 - float(np.square(answers - truth).mean()) / spread if spread else None}


def per_adapter(goal: Goal, truth: NDArray[Any], answers: NDArray[Any]) -> NDArray[np.float64]:
    """Return what each adapter adds to the mean score of [S, n] runs: 1 for right, - its error."""
    if goal.kind == CLASSES:
        right: NDArray[np.float64] = np.equal(answers.argmax(axis=-1), truth).astype(float)
        return right
    distance = answers.argmax(axis=-1) if goal.kind == ORDINAL else answers
    error: NDArray[np.float64] = np.abs(np.subtract(distance, truth, dtype=float))
    return -error
