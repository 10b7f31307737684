"""Moments: mean, std, skewness and kurtosis of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import scipy.stats
from torch import Tensor

from wsa import Case, Target
from wsa_bench import populations
from wsa_bench.contenders import OURS, Array, kernel_case
from wsa_bench.populations import per_entry
from wsa_kernels.moments import moments

# The mean of an update is a sum of products that nearly cancel: eager float32 leaves 1e-5 of it.
TOLERANCE = {"": 1e-5, "mean": 1e-4, "skewness": 2e-5, "kurtosis": 2e-5}
UNIFORM = {("cpu", "factors"): 64, ("cuda", "factors"): 8192}


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix."""
    entries = w.ravel()
    return {
        "mean": entries.mean(),
        "std": entries.std(ddof=1),
        "skewness": scipy.stats.skew(entries),
        "kurtosis": scipy.stats.kurtosis(entries, fisher=False),
    }


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters."""
    entries = w.flatten(1)
    mean = entries.mean(1)
    centred = entries - mean[:, None]
    square = centred.square()
    second = square.mean(1)
    return {
        "mean": mean,
        "std": entries.std(1),
        "skewness": (square * centred).mean(1) / second**1.5,
        "kurtosis": square.square().mean(1) / second.square(),
    }


def cases() -> list[Case]:
    """Return the flagship's case, and one of 128 equal layers of 1,280 entries."""
    gpu = (
        Target(("triton",), "copy", 0.8, "cuda"),
        Target(("triton",), "copy", 0.5, "cuda", dtype="fp16"),
        Target(("triton",), "eager", 20, "cuda"),
        Target(("triton",), "compiled", 5, "cuda"),
    )
    case = kernel_case(moments, of_matrix, of_layer, TOLERANCE, per_entry(10), targets=gpu)
    return [
        case,
        replace(
            case,
            name="moments/uniform",
            inputs=lambda setting: populations.uniform(setting, 128, 1, 1280),
            views=("factors",),
            ranks=(),
            adapters=UNIFORM,
            targets=(Target(OURS, "eager", 6), *gpu),
        ),
    ]
