"""The oracle, part one: features of a layer's entries, whatever their places."""

from __future__ import annotations

import math

import numpy as np
import scipy.special
import scipy.stats
from tests.plugins.subject import (
    EDGE,
    Array,
    Expected,
    Features,
    Subject,
    entropy,
    near,
    of_order_one,
    ratio,
)


def simple_stats(subject: Subject) -> Features:
    w = subject.flat
    return {
        "mean": Expected(w.mean(), 1e-6),
        "std": Expected(subject.std, 1e-6),
        "median": quantile(subject, 1, 2),
        "min": Expected(w.min(), 1e-6),
        "max": Expected(w.max(), 1e-6),
    }


def stats(subject: Subject) -> Features:
    return simple_stats(subject) | shape(subject)


def shape(subject: Subject) -> Features:
    """Expect scipy's skewness and Pearson's kurtosis; 0 of a constant layer."""
    if subject.constant:
        return {"skewness": Expected(0.0), "kurtosis": Expected(0.0)}
    z = (subject.flat - subject.flat.mean()) / subject.flat.std()
    return {
        "skewness": of_order_one(np.mean(z**3), 2e-5),
        "kurtosis": of_order_one(np.mean(z**4), 2e-5),
    }


def quantile(subject: Subject, above: int, below: int, values: Array | None = None) -> Expected:
    """Expect the quantile above / below; its place is found in integers, so no rounding decides.

    A stored matrix is held to one unit in the last place of the interpolation, a delta to 1e-3 s.
    """
    ordered = np.sort(subject.flat if values is None else values)
    place, rest = divmod((len(ordered) - 1) * above, below)
    low, high = ordered[place], ordered[min(place + 1, len(ordered) - 1)]
    unit = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    slack = unit if subject.rank is None else 1e-3 * subject.std + unit
    return Expected(float(low + (high - low) * rest / below), 0.0, slack)


def percentiles(subject: Subject, wanted: tuple[int, ...]) -> Features:
    return {f"q{p:02d}": quantile(subject, p, 100) for p in wanted}


def combined(terms: list[tuple[float, Expected]]) -> Expected:
    """Add quantiles up, and what each may differ by, and the rounding of the sum itself."""
    value = sum(factor * term.value for factor, term in terms)
    slack = sum(abs(factor) * term.absolute for factor, term in terms)
    return Expected(value, 0.0, slack + float(np.spacing(np.float32(abs(value)))) / 2)


def quotient(above: Expected, below: Expected) -> Expected:
    """Divide quantile differences; where the one below may vanish, nothing is asked."""
    value = ratio(above.value, below.value)
    if not below.value:
        return Expected(0.0)
    certain = abs(below.value) - below.absolute
    slack = (above.absolute + abs(value) * below.absolute) / certain if certain > 0 else math.inf
    return Expected(value, 1e-6, 1e-6 + slack)


def rank_based(subject: Subject) -> Features:
    features = percentiles(subject, (1, 5, 10, 25, 50, 75, 90, 95, 99))
    q25, q50, q75 = (features[f"q{p}"] for p in (25, 50, 75))
    e = [quantile(subject, i, 8) for i in range(9)]
    iqr = combined([(1, q75), (-1, q25)])
    distances = quantile(subject, 1, 2, np.abs(subject.flat - q50.value))
    moors = combined([(1, e[7]), (-1, e[5]), (1, e[3]), (-1, e[1])])
    return features | {
        "iqr": iqr,
        "mad_median": combined([(1, distances), (1, q50._replace(value=0.0))]),
        "trimmed_mean": trimmed_mean(subject, features["q10"], features["q90"]),
        "bowley": quotient(combined([(1, q75), (1, q25), (-2, q50)]), iqr),
        "moors": quotient(moors, combined([(1, e[6]), (-1, e[2])])),
        "gini": of_order_one(gini(np.abs(subject.flat)), 2e-6),
    }


def trimmed_mean(subject: Subject, low: Expected, high: Expected) -> Expected:
    """Expect the mean of the entries in [q10, q90]; entries near a bound may fall either way."""
    w = subject.flat
    kept = w[(w >= low.value) & (w <= high.value)]
    if not len(kept):  # two unequal entries: both lie outside
        return Expected(0.0)
    slack = 0.0
    for bound in (low, high):
        # an entry that is the quantile itself belongs inside, without excuse
        doubtful = near(w, bound.value, bound.absolute) - int(np.sum(w == bound.value))
        slack += max(0, doubtful) * abs(bound.value - kept.mean()) / len(kept)
    return Expected(kept.mean(), 1e-6, slack + 1e-6 * subject.std)


def gini(x: Array) -> float:
    n, total = len(x), x.sum()
    if not total:
        return 0.0
    places = np.arange(1, n + 1)
    return float(2 * np.sum(places * np.sort(x)) / (n * total) - (n + 1) / n)


def distribution(subject: Subject) -> Features:
    w, s, n = subject.flat, subject.std, subject.entries.size
    features = percentiles(subject, (5, 10, 25, 50, 75, 90, 95))
    features["iqr"] = combined([(1, features["q75"]), (-1, features["q25"])])
    features["mad"] = Expected(np.mean(np.abs(w - w.mean())), 1e-6)
    features["cv"] = of_order_one(ratio(s, abs(w.mean()) + s), 1e-6)
    features |= shape(subject)
    if subject.constant:
        rest = ["tail_2", "tail_3", "near_zero", *(f"hist_{b}" for b in range(1, 17))]
        return features | {name: Expected(0.0) for name in rest}
    z = np.abs(subject.z)
    for bound in (2, 3):
        features[f"tail_{bound}"] = share(int(np.sum(z > bound)), near(z, bound), n)
    small = np.abs(w) / s
    features["near_zero"] = share(int(np.sum(small < 1e-3)), near(small, 1e-3), n)
    counts, doubtful = histogram(subject.z, 16)
    for b in range(16):
        features[f"hist_{b + 1}"] = share(counts[b], doubtful[b] + doubtful[b + 1], n)
    return features


def share(count: float, doubtful: float, n: int) -> Expected:
    return Expected(float(count / n), 1e-6, float(doubtful / n))


def histogram(z: Array, bins: int) -> tuple[Array, Array]:
    """Count z in equal bins on [-4, 4], the outer ones open; and the doubtful at every edge."""
    edges = np.linspace(-4, 4, bins + 1)
    index = np.clip(np.floor((z + 4) / 8 * bins), 0, bins - 1).astype(int)
    doubtful = [near(z, edge) for edge in edges[1:-1]]
    return np.bincount(index, minlength=bins).astype(float), np.array([0.0, *doubtful, 0.0])


def info_theoretic(subject: Subject) -> Features:
    names = ("entropy", "entropy_normalised", "entropy_z", "kl_normal", "differential")
    if subject.constant:
        return {name: Expected(0.0) for name in names}
    w, n = subject.flat, subject.entries.size
    place = (w - w.min()) / (w.max() - w.min()) * 50
    counts = np.bincount(np.minimum(place.astype(int), 49), minlength=50)
    doubtful = sum(near(place, edge, 50 * EDGE) for edge in range(1, 50))
    plain, counted = entropy(counts / n), doubtful * 2 * (math.log(n) + 1) / n
    z_counts, z_doubtful = histogram(subject.z, 64)
    z_counted = float(z_doubtful.sum()) * 2 * (math.log(n) + 2) / n
    return {
        "entropy": of_order_one(plain, 2e-6, counted),
        "entropy_normalised": of_order_one(plain / math.log(50), 2e-6, counted),
        "entropy_z": of_order_one(entropy(z_counts / n), 2e-6, z_counted),
        "kl_normal": of_order_one(divergence(z_counts / n), 2e-6, z_counted),
        "differential": of_order_one(vasicek(subject.z), 1e-5),
    }


def divergence(p: Array) -> float:
    """Return KL(p || the standard normal's shares of as many bins on [-4, 4], outer ones open)."""
    edges = np.linspace(-4, 4, len(p) + 1)[1 : len(p) // 2 + 1]
    lower = np.diff(scipy.stats.norm.cdf(edges), prepend=0.0)  # the normal is even
    q = np.concatenate([lower, lower[::-1]])
    return float(np.sum(scipy.special.rel_entr(p, q)))


def vasicek(z: Array) -> float:
    """Return the m-spacing entropy, m = round(sqrt n); spacings of 0 are left out of the mean."""
    n = len(z)
    if n < 3:
        return 0.0
    m = min(round(math.sqrt(n)), (n - 1) // 2)
    x, i = np.sort(z), np.arange(n)
    spacing = x[np.minimum(i + m, n - 1)] - x[np.maximum(i - m, 0)]
    spacing = spacing[spacing > 0]
    return float(np.mean(np.log(n / (2 * m) * spacing))) if len(spacing) else 0.0
