"""Row and column norms: their mean, spread and maximum, and their profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsa import Case
from wsa_bench.contenders import Array, kernel_case
from wsa_bench.populations import per_stored
from wsa_kernels.row_col_norms import GROUPS, row_col_norms


def of_matrix(w: Array, rank: int | None) -> Mapping[str, Any]:
    """Describe one matrix."""
    rows, cols = np.linalg.norm(w, axis=1), np.linalg.norm(w, axis=0)
    return {
        "row_mean": rows.mean(),
        "row_std": spread(rows),
        "row_max": rows.max(),
        "col_mean": cols.mean(),
        "col_std": spread(cols),
        "col_max": cols.max(),
        "row_profile": profile(rows),
        "col_profile": profile(cols),
    }


def spread(norms: Array) -> float:
    """Return the standard deviation, 0 of one norm."""
    return float(norms.std(ddof=1)) if len(norms) > 1 else 0.0


def profile(norms: Array) -> Any:
    """Return the root-mean-square of 32 contiguous groups; fewer norms are padded with 0."""
    if len(norms) < GROUPS:
        return np.pad(norms, (0, GROUPS - len(norms)))
    starts = [i * len(norms) // GROUPS for i in range(GROUPS)]
    sizes = np.diff([*starts, len(norms)])
    return np.sqrt(np.add.reduceat(norms**2, starts) / sizes)


def of_layer(w: Tensor, rank: int | None) -> Mapping[str, Tensor]:
    """Describe one layer of all adapters."""
    rows, cols = w.norm(dim=2), w.norm(dim=1)
    return {
        "row_mean": rows.mean(1),
        "row_std": batched_spread(rows),
        "row_max": rows.amax(1),
        "col_mean": cols.mean(1),
        "col_std": batched_spread(cols),
        "col_max": cols.amax(1),
        "row_profile": batched_profile(rows),
        "col_profile": batched_profile(cols),
    }


def batched_spread(norms: Tensor) -> Tensor:
    """Return the standard deviation of each row, 0 of one norm."""
    return norms.std(1) if norms.shape[1] > 1 else norms.new_zeros(len(norms))


def batched_profile(norms: Tensor) -> Tensor:
    """Return the root-mean-square of each row's 32 contiguous groups."""
    count = norms.shape[1]
    if count < GROUPS:
        return torch.nn.functional.pad(norms, (0, GROUPS - count))
    if count % GROUPS == 0:
        return norms.square().view(len(norms), GROUPS, -1).mean(2).sqrt()
    bounds = [i * count // GROUPS for i in range(1, GROUPS)]
    groups = norms.square().tensor_split(bounds, 1)
    return torch.stack([group.mean(1) for group in groups], 1).sqrt()


def cases() -> list[Case]:
    """Return the flagship's case."""
    # the spread of norms is a difference: in float32 of an update's 320 rows a few 1e-5
    return [kernel_case(row_col_norms, of_matrix, of_layer, {"": 1e-4}, per_stored(4))]
