"""Per matrix: the seed representations as a script computes them, one matrix at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.stats

from wsa_bench import fourier, histogram, quantiles, spectrum
from wsa_bench.contenders import Array
from wsa_kernels.histogram import NEAR_ZERO, RANGE_BINS, Z_BINS

Described = dict[str, Any]


def simple_stats(w: Array, rank: int | None) -> Described:
    """Describe location and spread."""
    return {
        "mean": w.mean(),
        "std": w.std(ddof=1),
        "median": np.median(w),
        "min": w.min(),
        "max": w.max(),
    }


def stats(w: Array, rank: int | None) -> Described:
    """Describe location, spread and shape."""
    return simple_stats(w, rank) | shape(w.ravel())


def shape(entries: Array) -> Described:
    """Describe the shape of a distribution."""
    return {
        "skewness": scipy.stats.skew(entries),
        "kurtosis": scipy.stats.kurtosis(entries, fisher=False),
    }


def rank_based(w: Array, rank: int | None) -> Described:
    """Describe by order: percentiles, octiles, deviations from the median."""
    entries = w.ravel()
    q = np.percentile(entries, (1, 5, 10, 25, 50, 75, 90, 95, 99))
    e1, _, e3, _, e5, _, e7 = np.percentile(entries, np.arange(1, 8) * 12.5)
    iqr = q[5] - q[3]
    return {
        "q": q,
        "iqr": iqr,
        "mad_median": scipy.stats.median_abs_deviation(entries),
        "trimmed_mean": entries[(entries >= q[2]) & (entries <= q[6])].mean(),
        "bowley": (q[5] + q[3] - 2 * q[4]) / iqr,
        "moors": ((e7 - e5) + (e3 - e1)) / iqr,
        "gini": quantiles.gini(np.abs(entries)),
    }


def spectral(w: Array, rank: int | None) -> Described:
    """Describe by singular values."""
    found = spectrum.of_matrix(w, rank)
    return {
        "sv": found["singular_values"],
        "frac": found["fractions"],
        "gap": found["gaps"],
        **{name: found[name] for name in ("entropy", "effective_rank", "stable_rank")},
        "participation": found["participation"],
        "energy_rank": found["energy_ranks"],
        "log10_condition": found["log10_condition"],
        "log10_sv1": found["log10_sv1"],
        "log10_nuclear": found["log10_nuclear"],
    }


def matrix_norms(w: Array, rank: int | None) -> Described:
    """Describe by norms, of the matrix and of its rows and columns."""
    sigma = np.linalg.svd(w, compute_uv=False)[:rank]
    fro, nuclear = np.linalg.norm(w), sigma.sum()
    found: Described = {
        "fro": fro,
        "nuclear": nuclear,
        "spectral": sigma[0],
        "one": np.linalg.norm(w, 1),
        "inf": np.linalg.norm(w, np.inf),
        "nuclear_per_fro": nuclear / fro,
        "spectral_per_fro": sigma[0] / fro,
        "l1": np.abs(w).sum(),
        "max_abs": np.abs(w).max(),
    }
    for name, axis in (("row_norm", 1), ("col_norm", 0)):
        norms = np.linalg.norm(w, axis=axis)
        found[f"{name}_mean"] = norms.mean()
        found[f"{name}_std"] = norms.std(ddof=1) if len(norms) > 1 else 0.0
        found[f"{name}_max"] = norms.max()
    return found


def distribution(w: Array, rank: int | None) -> Described:
    """Describe by percentiles, spread, shape, tails and a histogram."""
    entries = w.ravel()
    q = np.percentile(entries, (5, 10, 25, 50, 75, 90, 95))
    mean, std = entries.mean(), entries.std(ddof=1)
    z = (entries - mean) / std
    return {
        "q": q,
        "iqr": q[4] - q[2],
        "mad": np.abs(entries - mean).mean(),
        "cv": std / (abs(mean) + std),
        **shape(entries),
        "tail": [np.mean(np.abs(z) > 2), np.mean(np.abs(z) > 3)],
        "near_zero": np.mean(np.abs(entries) < NEAR_ZERO * std),
        "hist": histogram.z_shares(z, 16),
    }


def frequency(w: Array, rank: int | None) -> Described:
    """Describe by the magnitudes of a Fourier transform."""
    return fourier.by_axis(fourier.of_matrix(w, rank))


def info_theoretic(w: Array, rank: int | None) -> Described:
    """Describe by entropies."""
    entries = w.ravel()
    z = (entries - entries.mean()) / entries.std(ddof=1)
    shares = histogram.z_shares(z, Z_BINS)
    entropy = scipy.stats.entropy(np.histogram(entries, RANGE_BINS)[0])
    return {
        "entropy": entropy,
        "entropy_normalised": entropy / math.log(RANGE_BINS),
        "entropy_z": scipy.stats.entropy(shares),
        "kl_normal": scipy.stats.entropy(shares, histogram.normal_shares()),
        "differential": quantiles.differential(entries),
    }


REPRESENTATIONS: Mapping[str, Callable[[Array, int | None], Described]] = {
    "simple_stats": simple_stats,
    "stats": stats,
    "rank_based": rank_based,
    "spectral": spectral,
    "matrix_norms": matrix_norms,
    "distribution": distribution,
    "frequency": frequency,
    "info_theoretic": info_theoretic,
}
