"""Extrema: the least, the greatest and the greatest absolute entry of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from wsa import Case
from wsa_bench.contenders import Array, kernel_case
from wsa_bench.populations import per_entry
from wsa_kernels.extrema import extrema


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix."""
    return {"minimum": w.min(), "maximum": w.max(), "max_abs": np.abs(w).max()}


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters."""
    return {
        "minimum": w.amin((1, 2)),
        "maximum": w.amax((1, 2)),
        "max_abs": w.abs().amax((1, 2)),
    }


def cases() -> list[Case]:
    """Return the flagship's case."""
    return [kernel_case(extrema, of_matrix, of_layer, {"": 1e-6}, per_entry(3))]
