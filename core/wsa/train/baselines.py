"""Baselines: scikit-learn's models, each with the one choice that validation makes for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.train.goal import REGRESSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsa.train.goal import Goal

# Features [n, C] and labels [n] of train, val and test; what a model answers on each.
Data = dict[str, tuple["NDArray[Any]", "NDArray[Any]"]]
Answers = dict[str, "NDArray[np.float64]"]
Fit = Callable[[Data, "Goal", int], tuple[Answers, dict[str, Any]]]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the penalty's inverse
NEIGHBOURS = (1, 3, 5, 9, 15, 25, 50)
TREES = 150
# Of the columns at each node: the only thing that a seed draws, and half the time.
TREE_COLUMNS = 0.5


def linear(data: Data, goal: Goal, seed: int) -> tuple[Answers, dict[str, Any]]:
    """Fit logistic regression, or ridge for a number; validation picks the penalty."""
    best: tuple[float, float, Any] | None = None
    values, labels = data["train"]
    for strength in STRENGTHS:
        model = _linear_model(goal, strength).fit(values, labels)
        loss = _loss(goal, data["val"][1], _answer(model, data["val"][0], goal))
        if best is None or loss < best[0]:
            best = (loss, strength, model)
    assert best is not None
    answers = {name: _answer(best[2], each, goal) for name, (each, _) in data.items()}
    return answers, {"strength": best[1]}


def _linear_model(goal: Goal, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge

    if goal.kind == REGRESSION:
        return Ridge(alpha=1 / strength)
    return _Quiet(LogisticRegression(C=strength, max_iter=500))


class _Quiet:
    """A model whose solver may stop early: validation has judged it, so nobody need be warned."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, values: NDArray[Any], labels: NDArray[Any]) -> Any:
        """Fit and return the model itself."""
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return self.model.fit(values, labels)


def knn(data: Data, goal: Goal, seed: int) -> tuple[Answers, dict[str, Any]]:
    """Let the nearest training adapters vote, or average them; validation picks how many."""
    from sklearn.neighbors import NearestNeighbors

    values, labels = data["train"]
    counts = [count for count in NEIGHBOURS if count <= len(values)]
    index = NearestNeighbors(n_neighbors=counts[-1]).fit(values)
    near = {name: labels[index.kneighbors(each[0])[1]] for name, each in data.items()}
    losses = [_loss(goal, data["val"][1], _votes(near["val"][:, :k], goal)) for k in counts]
    best = counts[int(np.argmin(losses))]
    return {name: _votes(found[:, :best], goal) for name, found in near.items()}, {
        "neighbours": best
    }


def _votes(near: NDArray[Any], goal: Goal) -> NDArray[np.float64]:
    if goal.kind == REGRESSION:
        averaged: NDArray[np.float64] = near.mean(axis=1)
        return averaged
    # half a vote for the shares of all classes: no class is impossible
    votes = (near[:, :, None] == np.arange(goal.classes)).sum(axis=1) + 0.5 / goal.classes
    chances: NDArray[np.float64] = votes / votes.sum(axis=1, keepdims=True)
    return chances


def gbm(data: Data, goal: Goal, seed: int) -> tuple[Answers, dict[str, Any]]:
    """Boost trees on histograms; validation picks after how many of them to stop."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if goal.kind == REGRESSION else None
    model = (kind or HistGradientBoostingClassifier)(
        max_iter=TREES, early_stopping=False, max_features=TREE_COLUMNS, random_state=seed
    )
    model.fit(*data["train"])
    val, truth = data["val"]
    losses = [_loss(goal, truth, found) for found in _staged(model, val, goal)]
    best = int(np.argmin(losses))
    answers = {
        name: next(islice(_staged(model, values, goal), best, None))
        for name, (values, _) in data.items()
    }
    return answers, {"trees": best + 1}


def _staged(model: Any, values: NDArray[Any], goal: Goal) -> Iterator[NDArray[np.float64]]:
    """Yield the answers after each tree."""
    if goal.kind == REGRESSION:
        yield from model.staged_predict(values)
        return
    for chances in model.staged_predict_proba(values):
        yield _placed(model, chances, goal)


def _answer(model: Any, values: NDArray[Any], goal: Goal) -> NDArray[np.float64]:
    if goal.kind == REGRESSION:
        numbers: NDArray[np.float64] = model.predict(values).astype(np.float64)
        return numbers
    return _placed(model, model.predict_proba(values), goal)


def _placed(model: Any, chances: NDArray[Any], goal: Goal) -> NDArray[np.float64]:
    """Put the classes a model has seen in their places among all K."""
    out = np.zeros((len(chances), goal.classes))
    out[:, model.classes_] = chances
    return out


def _loss(goal: Goal, truth: NDArray[Any], answers: NDArray[np.float64]) -> float:
    if goal.kind == REGRESSION:
        return float(np.square(answers - truth).mean())
    mine = answers[np.arange(len(truth)), truth]
    return -float(np.log(np.maximum(mine, 1e-12)).mean())
