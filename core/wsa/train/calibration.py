"""Calibration: whether a classifier is as sure as it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.integer[Any]]
    Probabilities = NDArray[np.float64]

ECE_BINS = 15


def calibration(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return every score of [n, K] probabilities as probabilities, by name."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    wrong = ~right
    return {
        "ece": expected_calibration_error(labels, probabilities),
        "mce": _largest_gap(confidence, right),
        "ece_adaptive": _adaptive(confidence, right),
        "ece_classwise": _classwise(labels, probabilities),
        "brier": brier(labels, probabilities),
        "brier_skill": _skill(labels, probabilities),
        "confidence_mean": float(confidence.mean()),
        "overconfidence": float(confidence.mean() - right.mean()),
        "confidence_right": float(confidence[right].mean()) if right.any() else np.nan,
        "confidence_wrong": float(confidence[wrong].mean()) if wrong.any() else np.nan,
        **_selective(confidence, right),
    }


def brier(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean squared distance to the true class, summed over classes: 0 to 2."""
    truth = labels[:, None] == np.arange(probabilities.shape[1])
    return float(np.square(probabilities - truth).sum(axis=1).mean())


def expected_calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean gap of confidence and accuracy over 15 equal bins (Guo et al. 2017)."""
    right = probabilities.argmax(axis=1) == labels
    return float(np.abs(_gaps(probabilities.max(axis=1), right)[0]).sum() / len(labels))


def _gaps(confidence: NDArray[Any], right: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the summed gap, and the number of adapters, of each of 15 equal bins."""
    edges = np.linspace(0, 1, ECE_BINS + 1)[1:-1]
    bins = np.searchsorted(edges, confidence, side="right")
    gaps = np.bincount(bins, weights=confidence - right, minlength=ECE_BINS)
    return gaps, np.bincount(bins, minlength=ECE_BINS)


def _largest_gap(confidence: NDArray[Any], right: NDArray[Any]) -> float:
    gaps, counts = _gaps(confidence, right)
    filled = counts > 0
    return float((np.abs(gaps[filled]) / counts[filled]).max())


def _adaptive(confidence: NDArray[Any], right: NDArray[Any]) -> float:
    """Return the calibration error over bins of equally many adapters."""
    gap = (confidence - right)[np.argsort(confidence, kind="stable")]
    bins = np.array_split(gap, min(ECE_BINS, len(gap)))
    return float(sum(abs(each.sum()) for each in bins) / len(gap))


def _classwise(labels: Labels, probabilities: Probabilities) -> float:
    """Return the calibration error of each class's own probability, averaged over classes."""
    errors = [
        np.abs(_gaps(chance, labels == label)[0]).sum() / len(labels)
        for label, chance in enumerate(probabilities.T)
    ]
    return float(np.mean(errors))


def _skill(labels: Labels, probabilities: Probabilities) -> float:
    """Return by how much Brier's score beats naming the shares of the classes: 1 is perfect."""
    shares = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    plain = brier(labels, np.tile(shares, (len(labels), 1)))
    return 1 - brier(labels, probabilities) / plain if plain else np.nan


def _selective(confidence: NDArray[Any], right: NDArray[Any]) -> dict[str, float]:
    """Return the accuracy where the classifier is surest, and the area under risk by coverage."""
    ordered = right[np.argsort(-confidence, kind="stable")]
    kept = np.arange(1, len(ordered) + 1)
    accuracy = ordered.cumsum() / kept
    named = {f"accuracy_surest_{share}": int(np.ceil(share / 100 * len(kept))) for share in SURE}
    found = {name: float(accuracy[count - 1]) for name, count in named.items()}
    return found | {"risk_coverage_area": float((1 - accuracy).mean())}


SURE = (50, 80, 90)  # per cent of the adapters
