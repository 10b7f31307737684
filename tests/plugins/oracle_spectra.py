"""The oracle, part two: features of a layer as a matrix: spectra, norms, frequencies."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tests.plugins.subject import (
    EPS32,
    Array,
    Expected,
    Features,
    Subject,
    entropy,
    of_order_one,
    padded,
    ratio,
)

Whole = NDArray[np.int64]


def singular_values(subject: Subject) -> Array:
    values = np.linalg.svd(subject.entries, compute_uv=False)
    return np.asarray(values[: subject.rank or len(values)])


def spectral(subject: Subject) -> Features:
    sigma = singular_values(subject)
    first, total = float(sigma[0]), float(sigma.sum())
    p = sigma / total if total else sigma
    square, h = float(np.sum(sigma**2)), entropy(p)
    leading = padded(sigma, 10)
    # the gap below the last singular value is one to 0; a constant layer has none by definition
    gaps = 0 * leading[1:] if subject.constant else -np.diff(leading)
    features = {f"sv_{i + 1}": Expected(leading[i], 0.0, 2e-6 * first) for i in range(10)}
    features |= {f"frac_{i + 1}": of_order_one(x, 2e-6) for i, x in enumerate(padded(p, 10))}
    features |= {f"gap_{i + 1}": of_order_one(ratio(x, first), 4e-6) for i, x in enumerate(gaps)}
    features["entropy"] = of_order_one(h, 1e-5)
    features["effective_rank"] = of_order_one(math.exp(h) if total else 0.0, 1e-5)
    features["stable_rank"] = of_order_one(ratio(square, first**2), 1e-5)
    features["participation"] = of_order_one(ratio(square**2, float(np.sum(sigma**4))), 1e-5)
    for percent in (50, 90, 95, 99):
        features[f"energy_rank_{percent}"] = energy_rank(sigma**2, percent / 100)
    features["log10_condition"] = log10_condition(subject, sigma)
    features["log10_sv1"] = Expected(math.log10(first) if first else -38.0, 0.0, 1e-6)
    features["log10_nuclear"] = Expected(math.log10(total) if total else -38.0, 0.0, 2e-6)
    return features


def energy_rank(energy: Array, threshold: float) -> Expected:
    """Expect the least j whose first j energies reach a share; one more where j's is a tie."""
    if not energy[0]:
        return Expected(0.0)
    reached = np.cumsum(energy) / energy.sum()
    tie = bool(np.any(np.abs(reached - threshold) < 1e-6))
    return Expected(float(np.argmax(reached >= threshold) + 1), 0.0, float(tie))


def log10_condition(subject: Subject, sigma: Array) -> Expected:
    """Expect log10 of sigma_1 over the last above rounding, which is held to 1e-4 relative."""
    if not sigma[0]:
        return Expected(-38.0)
    tolerance = max(subject.entries.shape) * EPS32 * sigma[0]
    last = sigma[sigma > tolerance][-1]
    doubtful = np.any(np.abs(sigma / tolerance - 1) < 0.05)
    slack = math.inf if doubtful else 1e-4 / math.log(10)
    return Expected(math.log10(sigma[0] / last), 0.0, slack)


def matrix_norms(subject: Subject) -> Features:
    sigma, size = singular_values(subject), np.abs(subject.entries)
    fro = float(np.sqrt(np.sum(sigma**2)))
    features = {
        "fro": Expected(fro, 1e-6),
        "nuclear": Expected(sigma.sum(), 2e-6),
        "spectral": Expected(sigma[0], 2e-6),
        "one": Expected(size.sum(axis=0).max(), 1e-6),
        "inf": Expected(size.sum(axis=1).max(), 1e-6),
        "nuclear_per_fro": of_order_one(ratio(sigma.sum(), fro), 2e-6),
        "spectral_per_fro": of_order_one(ratio(sigma[0], fro), 2e-6),
        "l1": Expected(size.sum(), 1e-6),
        "max_abs": Expected(size.max(), 1e-6),
    }
    for name, norms in norms_of(subject).items():
        spread = norms.std(ddof=1) if len(norms) > 1 else 0.0
        features[f"{name}_norm_mean"] = Expected(norms.mean(), 1e-6)
        # the spread of equal norms is their rounding
        features[f"{name}_norm_std"] = Expected(spread, 1e-6, 1e-6 * norms.mean())
        features[f"{name}_norm_max"] = Expected(norms.max(), 1e-6)
    return features


def norms_of(subject: Subject) -> dict[str, Array]:
    w = subject.entries
    return {"row": np.linalg.norm(w, axis=1), "col": np.linalg.norm(w, axis=0)}


def profile(subject: Subject) -> Features:
    features: Features = {}
    for name, norms in norms_of(subject).items():
        n = len(norms)
        bounds = [i * n // 32 for i in range(33)] if n >= 32 else range(n + 1)
        groups = [norms[a:b] for a, b in pairwise(bounds)]
        values = padded(np.array([np.sqrt(np.mean(group**2)) for group in groups]), 32)
        features |= {f"{name}_{i + 1}": Expected(x, 1e-6) for i, x in enumerate(values)}
    return features


@lru_cache
def frequencies(rows: int, cols: int) -> tuple[Whole, Whole, Whole]:
    """List one frequency (i, j) of each conjugate pair, and its squared radius x (rows cols)^2."""
    pairs = [(i, j) for i in range(rows) for j in range(cols)]
    once = [(i, j) for i, j in pairs if (i, j) <= (-i % rows, -j % cols)]
    i, j = np.array(once).T
    radius = (np.minimum(i, rows - i) * cols) ** 2 + (np.minimum(j, cols - j) * rows) ** 2
    return i, j, radius


def frequency(subject: Subject) -> Features:
    w = subject.entries
    if subject.rank is None:
        i, j, radius = frequencies(*w.shape)
        power = np.abs(np.fft.fft2(w, norm="ortho")[i, j]) ** 2
        return spectrum_features(power, radius, w.size, subject.constant)
    features: Features = {}
    for axis, prefix in enumerate(("out", "in")):
        n = w.shape[axis]
        transform = np.fft.rfft(w, axis=axis, norm="ortho")
        energy = np.sum(np.abs(transform) ** 2, axis=1 - axis)
        found = spectrum_features(energy, np.arange(len(energy)) ** 2, n, subject.constant)
        features |= {f"{prefix}_{name}": value for name, value in found.items()}
    return features


def spectrum_features(power: Array, radius: Whole, size: int, constant: bool) -> Features:
    """Expect the 24 features of powers at squared radii, in units of 1 / size^2."""
    magnitude = np.sqrt(power)
    top = padded(np.sort(magnitude)[::-1], 10)
    features = {f"top_{i + 1}": Expected(x, 1e-5) for i, x in enumerate(top)}
    features["mean"] = Expected(magnitude.mean(), 1e-5)
    features["std"] = Expected(magnitude.std(), 1e-5)
    features["dc"] = Expected(float(magnitude[radius == 0][0]), 1e-5, 1e-6 * float(top[0]))
    features["concentration"] = of_order_one(ratio(np.sum(top**2), power.sum()), 1e-5)
    radius, above = radius[radius > 0], power[radius > 0].copy()
    # float64 leaves 1e-32 of the whole where mathematics leaves nothing
    above[constant or above <= 1e-24 * power.sum()] = 0.0
    above[above <= 1e-12 * above.max(initial=0.0)] = 0.0
    total = float(above.sum())
    # floor(8 rho / rho_max) in integers: diagonals of a square lie exactly on the bands' edges
    band = [min(7, math.isqrt(64 * int(x) // int(radius.max()))) for x in radius]
    bands = np.bincount(band, weights=above, minlength=8) if band else np.zeros(8)
    features |= {f"band_{b + 1}": of_order_one(ratio(bands[b], total), 1e-5) for b in range(8)}
    centroid = ratio(float(np.sum(np.sqrt(radius) / size * above)), total)
    features["centroid"] = of_order_one(centroid, 1e-5)
    flat = total and above.min() > 0
    flatness = math.exp(np.mean(np.log(above))) / above.mean() if flat else 0.0
    features["flatness"] = of_order_one(flatness, 1e-5)
    return features
