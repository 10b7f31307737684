"""What a training gives back: the runs, their metrics, their weights and how they came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from wsa.train.standardise import Standard


@dataclass(frozen=True, slots=True)
class Run:
    """One seed; `shuffled` makes it the control, which learns permuted labels."""

    seed: int
    shuffled: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of training S runs on one task."""

    runs: list[dict[str, Any]]
    columns_kept: int
    columns_constant: int
    conditions: dict[str, Any]
    exact_resume: bool
    warnings: list[str]
    # [S, n, K] of "val" and "test", in the order of the split; [S, n] the labels they were held to.
    probabilities: dict[str, NDArray[np.float64]] = field(repr=False)
    labels: dict[str, NDArray[np.int64]] = field(repr=False)
    weights: dict[str, Tensor] = field(repr=False)  # the best state, [S, ...] each
    standard: Standard = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return all but arrays, as results.json holds it."""
        return {
            "runs": self.runs,
            "columns_kept": self.columns_kept,
            "columns_constant": self.columns_constant,
            "conditions": self.conditions,
            "exact_resume": self.exact_resume,
            "warnings": self.warnings,
        }
