"""Per layer: the seed representations as batched torch, one layer of all adapters at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from wsa_bench import fourier, histogram, moments, quantiles, row_col_norms, spectrum
from wsa_kernels.histogram import NEAR_ZERO, RANGE_BINS, Z_BINS

Described = dict[str, Tensor]


def simple_stats(w: Tensor, rank: int | None) -> Described:
    """Describe location and spread."""
    entries = w.flatten(1)
    return {
        "mean": entries.mean(1),
        "std": entries.std(1),
        "median": quantiles.median(entries),
        "min": entries.amin(1),
        "max": entries.amax(1),
    }


def stats(w: Tensor, rank: int | None) -> Described:
    """Describe location, spread and shape."""
    entries = w.flatten(1)
    ends = {"min": entries.amin(1), "max": entries.amax(1)}
    return {**moments.of_layer(w, rank), "median": quantiles.median(entries), **ends}


def rank_based(w: Tensor, rank: int | None) -> Described:
    """Describe by order: percentiles, octiles, deviations from the median."""
    entries = w.flatten(1)
    ordered = entries.sort(1).values
    percents = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    q = quantiles.sorted_quantiles(ordered, percents)
    e1, e3, e5, e7 = quantiles.sorted_quantiles(ordered, (0.125, 0.375, 0.625, 0.875)).unbind(1)
    inside = (entries >= q[:, 2:3]) & (entries <= q[:, 6:7])
    iqr = q[:, 5] - q[:, 3]
    return {
        "q": q,
        "iqr": iqr,
        "mad_median": quantiles.median((entries - q[:, 4:5]).abs()),
        "trimmed_mean": (entries * inside).sum(1) / inside.sum(1),
        "bowley": (q[:, 5] + q[:, 3] - 2 * q[:, 4]) / iqr,
        "moors": ((e7 - e5) + (e3 - e1)) / iqr,
        "gini": quantiles.batched_gini(entries),
    }


def spectral(w: Tensor, rank: int | None) -> Described:
    """Describe by singular values."""
    found = spectrum.of_layer(w, rank)
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


def matrix_norms(w: Tensor, rank: int | None) -> Described:
    """Describe by norms, of the matrices and of their rows and columns."""
    sigma = torch.linalg.svdvals(w)[:, :rank]
    fro, nuclear, size = torch.linalg.matrix_norm(w), sigma.sum(1), w.abs()
    found = {
        "fro": fro,
        "nuclear": nuclear,
        "spectral": sigma[:, 0],
        "one": torch.linalg.matrix_norm(w, 1),
        "inf": torch.linalg.matrix_norm(w, torch.inf),
        "nuclear_per_fro": nuclear / fro,
        "spectral_per_fro": sigma[:, 0] / fro,
        "l1": size.sum((1, 2)),
        "max_abs": size.amax((1, 2)),
    }
    for name, axis in (("row_norm", 2), ("col_norm", 1)):
        norms = w.norm(dim=axis)
        found[f"{name}_mean"] = norms.mean(1)
        found[f"{name}_std"] = row_col_norms.batched_spread(norms)
        found[f"{name}_max"] = norms.amax(1)
    return found


def distribution(w: Tensor, rank: int | None) -> Described:
    """Describe by percentiles, spread, shape, tails and a histogram."""
    entries = w.flatten(1)
    ordered = entries.sort(1).values
    q = quantiles.sorted_quantiles(ordered, (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95))
    shape = moments.of_layer(w, rank)
    mean, std = shape["mean"], shape["std"]
    centred = entries - mean[:, None]
    z = centred / std[:, None]
    size = z.abs()
    return {
        "q": q,
        "iqr": q[:, 4] - q[:, 2],
        "mad": centred.abs().mean(1),
        "cv": std / (mean.abs() + std),
        "skewness": shape["skewness"],
        "kurtosis": shape["kurtosis"],
        "tail": torch.stack([(size > bound).float().mean(1) for bound in (2, 3)], 1),
        "near_zero": (entries.abs() < NEAR_ZERO * std[:, None]).float().mean(1),
        "hist": histogram.batched_shares(z, -4, 4, 16),
    }


def frequency(w: Tensor, rank: int | None) -> Described:
    """Describe by the magnitudes of a Fourier transform."""
    return {
        name: value.float() for name, value in fourier.by_axis(fourier.of_layer(w, rank)).items()
    }


def info_theoretic(w: Tensor, rank: int | None) -> Described:
    """Describe by entropies."""
    entries = w.flatten(1)
    z = (entries - entries.mean(1, keepdim=True)) / entries.std(1, keepdim=True)
    shares = histogram.batched_shares(z, -4, 4, Z_BINS)
    low, high = entries.amin(1, keepdim=True), entries.amax(1, keepdim=True)
    ranges = histogram.batched_shares(entries, low, high, RANGE_BINS)
    entropy = torch.special.entr(ranges).sum(1)
    normal = torch.from_numpy(histogram.normal_shares()).to(shares)
    return {
        "entropy": entropy,
        "entropy_normalised": entropy / math.log(RANGE_BINS),
        "entropy_z": torch.special.entr(shares).sum(1),
        "kl_normal": torch.xlogy(shares, shares / normal).sum(1),
        "differential": quantiles.batched_differential(entries.sort(1).values),
    }


REPRESENTATIONS: Mapping[str, Callable[[Tensor, int | None], Described]] = {
    "simple_stats": simple_stats,
    "stats": stats,
    "rank_based": rank_based,
    "spectral": spectral,
    "matrix_norms": matrix_norms,
    "distribution": distribution,
    "frequency": frequency,
    "info_theoretic": info_theoretic,
}
