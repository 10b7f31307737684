"""What a classifier's probabilities are worth, for one split; finite numbers or None, never NaN."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.train.calibration import calibration
from wsa.train.per_class import per_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wsa.train.split import Split

    Labels = NDArray[np.integer[Any]]
    Probabilities = NDArray[np.float64]
    Numbers = NDArray[np.float64]

TOPS = (2, 3, 5)
CONFIDENCE = 0.95


def measure(labels: Labels, probabilities: Probabilities) -> dict[str, Any]:
    """Score [n, K] probabilities against [n] labels in 0 .. K - 1.

    From one confusion matrix and few sortings: a task asks for three dozen, a layer map for
    thousands, and 60 calls of scikit-learn take 60 ms. The tests hold them to its numbers.
    """
    count = probabilities.shape[1]
    places = labels * count + probabilities.argmax(axis=1)
    confusion = np.bincount(places, minlength=count**2).reshape(count, count)
    each = per_class(confusion, labels, probabilities)
    scores = {
        **_of_confusion(confusion),
        **_averages(each),
        **_of_ranks(labels, probabilities),
        **_of_chances(labels, probabilities),
        **calibration(labels, probabilities),
    }
    return finite(scores) | {
        "per_class": {name: _listed(values) for name, values in each.items()},
        "confusion": confusion.tolist(),
    }


def finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores as JSON holds them: None for what is no number."""
    return {name: _finite(score) for name, score in scores.items()}


def _finite(score: float) -> float | None:
    return float(score) if math.isfinite(score) else None


def _listed(values: Numbers) -> list[float | None]:
    return [_finite(value) for value in values]


def _of_confusion(confusion: NDArray[Any]) -> dict[str, float]:
    """Return what the whole matrix says: agreement, and agreement beyond chance."""
    total, right = confusion.sum(), np.trace(confusion)
    named, support = confusion.sum(axis=0), confusion.sum(axis=1)
    accuracy, chance = right / total, float(named @ support) / total**2
    spread = math.sqrt((total**2 - named @ named) * (total**2 - support @ support))
    return {
        "adapters": float(total),
        "accuracy": accuracy,
        "error": 1 - accuracy,
        "gain_over_majority": accuracy - support.max() / total,
        "kappa": (accuracy - chance) / (1 - chance) if chance < 1 else np.nan,
        "mcc": float(right * total - named @ support) / spread if spread else 0.0,
        **_information(confusion / total),
    }


def _information(joint: Numbers) -> dict[str, float]:
    """Return what a guess tells of the label, in nats, and as a share of what there is to tell."""
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    shared = float((joint[there] * np.log(joint[there] / apart[there])).sum())
    share = joint.sum(axis=1)
    entropy = -float((share[share > 0] * np.log(share[share > 0])).sum())
    told = shared / entropy if entropy else np.nan
    return {"mutual_information": shared, "label_entropy": entropy, "uncertainty_explained": told}


def _averages(each: Mapping[str, Numbers]) -> dict[str, float]:
    """Return scores of classes averaged over classes and over adapters.

    Balanced accuracy is the mean recall of the classes that are there.
    """
    support = each["support"]
    there, share = support > 0, support / support.sum()
    recall = each["recall"][there]
    balanced, classes = recall.mean(), len(recall)
    adjusted = (balanced - 1 / classes) / (1 - 1 / classes) if classes > 1 else np.nan
    means = {f"{name}_macro": each[name].mean() for name in AVERAGED}
    return {
        "balanced_accuracy": balanced,
        "balanced_accuracy_adjusted": adjusted,
        "recall_geometric_mean": float(np.prod(recall) ** (1 / classes)),
        "recall_worst": recall.min(),
        "recall_best": recall.max(),
        "f1_worst": each["f1"][there].min(),
        **means,
        "roc_auc_ovr": means.pop("roc_auc_macro"),
        **{f"{name}_weighted": each[name] @ share for name in AVERAGED},
    }


AVERAGED = (
    *("precision", "recall", "f1", "jaccard", "specificity"),
    *("negative_predictive_value", "roc_auc", "average_precision"),
)


def _of_ranks(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return how near to the top the true class stands; equal chances favour the lower class."""
    count = probabilities.shape[1]
    mine = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(count) < labels[:, None]
    better = (probabilities > mine).sum(axis=1) + ((probabilities == mine) & before).sum(axis=1)
    tops = {f"top{top}_accuracy": float((better < top).mean()) for top in TOPS}
    return {
        **tops,
        "rank_mean": float(better.mean() + 1),
        "reciprocal_rank": float((1 / (better + 1)).mean()),
        "ranking_loss": float(better.mean() / (count - 1)),
    }


def _of_chances(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return how likely the truth was held, in nats and beside what its shares alone give."""
    smallest = np.finfo(probabilities.dtype).eps
    clipped = np.clip(probabilities, smallest, 1 - smallest)
    chances = clipped / clipped.sum(axis=1, keepdims=True)
    mine = chances[np.arange(len(labels)), labels]
    nll = -float(np.log(mine).mean())
    shares = np.bincount(labels, minlength=chances.shape[1]) / len(labels)
    plain = -float(np.log(shares[labels]).mean())
    ordered = np.sort(chances, axis=1)
    return {
        "nll": nll,
        "nll_normalised": nll / math.log(chances.shape[1]),
        "perplexity": math.exp(nll),
        "nll_skill": 1 - nll / plain if plain else np.nan,
        "true_probability_mean": float(mine.mean()),
        "true_probability_least": float(mine.min()),
        "spherical_score": float((mine / np.linalg.norm(chances, axis=1)).mean()),
        "entropy_mean": -float((chances * np.log(chances)).sum(axis=1).mean()),
        "margin_mean": float((ordered[:, -1] - ordered[:, -2]).mean()),
    }


def majority(labels: Labels, split: Split) -> float:
    """Return the test accuracy of always naming the commonest training class."""
    commonest = np.bincount(labels[split.train]).argmax()
    return float(np.mean(labels[split.test] == commonest))


def summarise(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and std (ddof 1) over seeds and the 95 % t-interval of the mean.

    One seed says nothing of its spread: std 0 and no interval. No seed at all has no mean.
    """
    if not len(values):
        return dict.fromkeys(("mean", "std", "low", "high"))
    # what scipy.stats.t calls, which takes half a second to import
    from scipy.special import stdtrit

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return {"mean": mean, "std": 0.0, "low": None, "high": None}
    std = float(np.std(values, ddof=1))
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(count)
    return {"mean": mean, "std": std, "low": mean - half, "high": mean + half}
