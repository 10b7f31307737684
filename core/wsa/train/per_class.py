"""Per class: what a confusion matrix and a class's own probability say of it, one number each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.integer[Any]]
    Probabilities = NDArray[np.float64]
    Numbers = NDArray[np.float64]


def per_class(
    confusion: NDArray[np.integer[Any]], labels: Labels, probabilities: Probabilities
) -> dict[str, Numbers]:
    """Return every score of each of K classes, [K] each; NaN where a class is not there."""
    hits = np.diag(confusion).astype(np.float64)
    named, support = confusion.sum(axis=0), confusion.sum(axis=1)
    rest = confusion.sum() - support
    false = named - hits
    return {
        "precision": _ratio(hits, named),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, named + support),
        "jaccard": _ratio(hits, named + support - hits),
        "specificity": _ratio(rest - false, rest),
        "negative_predictive_value": _ratio(rest - false, confusion.sum() - named),
        "support": support.astype(np.float64),
        "named": named.astype(np.float64),
        "roc_auc": roc_areas(labels, probabilities),
        "average_precision": average_precisions(labels, probabilities),
    }


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Numbers:
    """Divide, with 0 for 0 / 0, as scikit-learn does with `zero_division=0`."""
    out = np.zeros(len(above))
    np.divide(above, below, out=out, where=below != 0)
    return out


def roc_areas(labels: Labels, probabilities: Probabilities) -> Numbers:
    """Return the one-vs-rest area under the ROC curve of each class.

    By ranks (Mann-Whitney), all classes at once: 0.4 ms where `roc_auc_score` takes 7 ms, and a
    task asks for a dozen.
    """
    from scipy.stats import rankdata

    mine = labels[:, None] == np.arange(probabilities.shape[1])  # [n, K]
    positive = mine.sum(axis=0)
    pairs = positive * (len(labels) - positive)
    ranks = (rankdata(probabilities, axis=0) * mine).sum(axis=0)
    above = ranks - positive * (positive + 1) / 2
    return np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)


def average_precisions(labels: Labels, probabilities: Probabilities) -> Numbers:
    """Return the area under each class's precision by recall, ties taken at once."""
    found = [_average_precision(labels == k, chance) for k, chance in enumerate(probabilities.T)]
    return np.array(found)


def _average_precision(mine: NDArray[np.bool_], chance: Numbers) -> float:
    if not mine.any():
        return float("nan")
    order = np.argsort(-chance, kind="stable")
    ordered = chance[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # of those that are equally likely
    hits = mine[order].cumsum()[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / mine.sum())
