"""What probabilities of ordered levels are worth: the order of the levels counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.train.metrics import finite, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.integer[Any]]
    Probabilities = NDArray[np.float64]


def measure_levels(labels: Labels, probabilities: Probabilities) -> dict[str, Any]:
    """Score [n, K] probabilities of ordered levels: as classes, and by the distance in levels."""
    from scipy import stats

    guesses = probabilities.argmax(axis=1)
    away = np.abs(guesses - labels)
    order = {"kendall_tau": np.nan, "spearman": np.nan}
    if np.ptp(labels) and np.ptp(guesses):
        order["kendall_tau"] = float(stats.kendalltau(labels, guesses).statistic)
        order["spearman"] = float(stats.spearmanr(labels, guesses).statistic)
    scores = {
        "kappa_quadratic": kappa_quadratic(labels, guesses),
        "level_mae": float(away.mean()),
        "level_rmse": float(np.sqrt(np.square(away).mean())),
        "within_one_level": float((away <= 1).mean()),
        "ranked_probability_score": _ranked(labels, probabilities),
        **order,
    }
    return measure(labels, probabilities) | finite(scores)


def kappa_quadratic(labels: Labels, guesses: Labels) -> float:
    """Return agreement beyond chance, a miss weighed by its squared distance."""
    apart = np.square(labels[:, None] - guesses[None, :]).mean()
    return 1 - float(np.square(labels - guesses).mean() / apart) if apart else 0.0


def _ranked(labels: Labels, probabilities: Probabilities) -> float:
    """Return the squared distance of cumulated probabilities to the truth, over the steps."""
    steps = np.arange(probabilities.shape[1] - 1)
    below = probabilities.cumsum(axis=1)[:, :-1]
    return float(np.square(below - (labels[:, None] <= steps)).sum(axis=1).mean() / len(steps))
