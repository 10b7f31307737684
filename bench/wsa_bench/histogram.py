"""Histogram: shares of every layer's entries in bins, and entropies of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from wsa import Case
from wsa_bench.contenders import Array, kernel_case
from wsa_bench.populations import per_entry
from wsa_kernels.histogram import NEAR_ZERO, RANGE_BINS, Z_BINS, histogram

# In float32 an entry on an edge may be counted on its other side: one of 320 entries, where the
# fullest bin holds 25 or so of them.
TOLERANCE = {"": 0.06, "near_zero": 0.4, "tail_3": 0.2, "absolute_deviation": 1e-5}


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix."""
    entries = w.ravel()
    mean, std = entries.mean(), entries.std(ddof=1)
    z = (entries - mean) / std
    shares = z_shares(z, Z_BINS)
    return {
        "z": shares,
        "entropy": scipy.stats.entropy(np.histogram(entries, RANGE_BINS)[0]),
        "entropy_z": scipy.stats.entropy(shares),
        "kl_normal": scipy.stats.entropy(shares, normal_shares()),
        "tail_2": np.mean(np.abs(z) > 2),
        "tail_3": np.mean(np.abs(z) > 3),
        "near_zero": np.mean(np.abs(entries) < NEAR_ZERO * std),
        "absolute_deviation": np.abs(entries - mean).mean(),
    }


def z_shares(z: Array, bins: int) -> Any:
    """Return the shares of z in equal bins on [-4, 4], the outer ones open."""
    return np.histogram(z.clip(-4, 4), bins, (-4, 4))[0] / len(z)


@cache
def normal_shares() -> Any:
    """Return the standard normal's shares of the bins of z."""
    inner = scipy.stats.norm.cdf(np.linspace(-4, 4, Z_BINS + 1)[1:-1])
    return np.diff(np.concatenate([[0], inner, [1]]))


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters."""
    entries = w.flatten(1)
    mean, std = entries.mean(1, keepdim=True), entries.std(1, keepdim=True)
    z = (entries - mean) / std
    shares = batched_shares(z, -4, 4, Z_BINS)
    low, high = entries.amin(1, keepdim=True), entries.amax(1, keepdim=True)
    ranges = batched_shares(entries, low, high, RANGE_BINS)
    normal = torch.from_numpy(normal_shares()).to(shares)
    return {
        "z": shares,
        "entropy": torch.special.entr(ranges).sum(1),
        "entropy_z": torch.special.entr(shares).sum(1),
        "kl_normal": torch.xlogy(shares, shares / normal).sum(1),
        "tail_2": (z.abs() > 2).float().mean(1),
        "tail_3": (z.abs() > 3).float().mean(1),
        "near_zero": (entries.abs() < NEAR_ZERO * std).float().mean(1),
        "absolute_deviation": (entries - mean).abs().mean(1),
    }


def batched_shares(values: Tensor, low: Any, high: Any, bins: int) -> Tensor:
    """Return each row's shares in equal bins between two bounds, the outer ones open."""
    place = ((values - low) * (bins / (high - low))).clamp(0, bins - 1).long()
    counts = values.new_zeros(len(values), bins)
    return counts.scatter_add_(1, place, torch.ones_like(values)) / values.shape[1]


def cases() -> list[Case]:
    """Return the flagship's case."""
    return [kernel_case(histogram, of_matrix, of_layer, TOLERANCE, per_entry(15))]
