"""Absolute sums: the entry-wise L1 norm and the matrix 1- and inf-norms of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsa import Case
from wsa_bench.contenders import Array, kernel_case
from wsa_bench.populations import per_entry
from wsa_kernels.absolute_sums import absolute_sums


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix."""
    return {
        "l1": np.abs(w).sum(),
        "one": np.linalg.norm(w, 1),
        "inf": np.linalg.norm(w, np.inf),
    }


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters."""
    return {
        "l1": w.abs().sum((1, 2)),
        "one": torch.linalg.matrix_norm(w, 1),
        "inf": torch.linalg.matrix_norm(w, torch.inf),
    }


def cases() -> list[Case]:
    """Return the flagship's case."""
    return [kernel_case(absolute_sums, of_matrix, of_layer, {"": 1e-5}, per_entry(4))]
