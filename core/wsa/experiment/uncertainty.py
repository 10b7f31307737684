"""Uncertainty: over seeds, over test adapters, and between two tasks; each says over what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.generators import own_seed
from wsa.train import REGRESSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsa.train import Goal

    Numbers = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
# Differences that vary by no more than so much of themselves vary by rounding: they are one.
ROUNDING = 1e-9


def bootstrap(
    goal: Goal, scores: Numbers, truth: Numbers, strata: NDArray[Any]
) -> dict[str, dict[str, Any]]:
    """Return percentile intervals over test adapters, drawn again within each stratum.

    `scores` [S, n] is what each adapter adds to the mean, of every seed; the seeds are averaged
    first, as it is the adapters whose choice is judged here.
    """
    squares = np.square(scores).mean(axis=0)
    sums = _resampled(np.stack([scores.mean(axis=0), squares, truth, truth**2]), strata)
    mean, square, first, second = sums / len(truth)
    if goal.kind != REGRESSION:
        name = "accuracy" if goal.primary == "accuracy" else "level_mae"
        return {name: _interval(np.abs(mean))}
    spread = second - first**2
    spread[spread <= 0] = np.nan
    return {"mae": _interval(-mean), "r2": _interval(1 - square / spread)}


def _resampled(rows: Numbers, strata: NDArray[Any]) -> Numbers:
    """Return the sums of [q, n] rows over each of 1000 samples, [q, 1000]."""
    draw = np.random.default_rng(own_seed("bootstrap", 0))
    sums = np.zeros((len(rows), RESAMPLES))
    for stratum in np.unique(strata):
        mine = rows[:, strata == stratum]
        count = mine.shape[1]
        sums += mine @ draw.multinomial(count, np.full(count, 1 / count), RESAMPLES).T
    return sums


def _interval(found: Numbers) -> dict[str, Any]:
    finite = found[np.isfinite(found)]
    if not len(finite):
        return {"low": None, "high": None, "over": "test adapters", "resamples": RESAMPLES}
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "low": float(low),
        "high": float(high),
        "over": "test adapters",
        "resamples": RESAMPLES,
    }


def over_seeds(differences: Sequence[Sequence[float]], test_share: float) -> float | None:
    """Return the p-value of no difference, paired by seed, of [splits][seeds] differences.

    One split: a paired t-test over its seeds. Several: over the splits, whose training parts
    overlap, with the variance of Nadeau and Bengio (2003). None where there is but one, or where
    nothing varies over them, as with heads that draw nothing: that says nothing of chance. A split
    without any seed to compare does not count.
    """
    # what scipy.stats.t calls, which takes half a second to import
    from scipy.special import stdtr

    values = [float(np.mean(each)) for each in differences if each]
    widened = test_share / (1 - test_share)
    if len(differences) == 1:
        values, widened = list(differences[0]), 0.0
    count = len(values)
    if count < 2:
        return None
    mean, spread = float(np.mean(values)), float(np.var(values, ddof=1))
    if math.sqrt(spread) <= ROUNDING * max(map(abs, values)):
        return None
    statistic = mean / math.sqrt((1 / count + widened) * spread)
    return float(2 * stdtr(count - 1, -abs(statistic)))


def over_draws(seeds: Sequence[float], draws: Sequence[float]) -> float | None:
    """Return the p-value of no difference between seeds and random draws: Welch's t-test.

    Each draw of layers has a seed of its own: there is nothing to pair. None where nothing varies.
    """
    from scipy.stats import ttest_ind_from_stats

    if min(len(seeds), len(draws)) < 2:
        return None
    # from these: of seeds that are nearly alike `ttest_ind` itself warns
    told = [(np.mean(each), np.std(each, ddof=1), len(each)) for each in (seeds, draws)]
    if max(spread for _, spread, _ in told) <= ROUNDING * max(map(abs, [*seeds, *draws])):
        return None
    return float(ttest_ind_from_stats(*told[0], *told[1], equal_var=False).pvalue)


def over_adapters(differences: Numbers) -> float:
    """Return the p-value of no difference over test adapters: Wilcoxon's signed ranks."""
    from scipy.stats import wilcoxon

    if not np.any(differences):
        return 1.0
    return float(wilcoxon(differences, zero_method="zsplit", method="asymptotic").pvalue)


def corrected(rows: Sequence[dict[str, Any]]) -> None:
    """Add to rows of one family of tests their p-values corrected by Holm; None stays None."""
    for name in ("p_seeds", "p_test_adapters"):
        known = [row for row in rows if row[name] is not None]
        for row in rows:
            row[f"{name}_holm"] = None
        for row, value in zip(known, holm([row[name] for row in known]), strict=True):
            row[f"{name}_holm"] = value


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm (1979)."""
    order = np.argsort(values, kind="stable")
    raised = np.array(values)[order] * np.arange(len(values), 0, -1)
    found = np.minimum(1.0, np.maximum.accumulate(raised))
    out = np.empty(len(values))
    out[order] = found
    return [float(value) for value in out]
