"""What the oracle looks at, one layer of one adapter, and what it expects of a feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EPS32 = float(np.finfo(np.float32).eps)
EDGE = 1e-6  # an entry this near to an edge may be counted on either side of it


class Expected(NamedTuple):
    """A feature, and the error allowed: `relative` of its column's scale, plus `absolute`."""

    value: float
    relative: float = 0.0
    absolute: float = 0.0


Features = dict[str, Expected]


@dataclass(frozen=True)
class Subject:
    """One layer of one adapter; `rank` is that of a delta's factors, None for a stored matrix."""

    entries: Array  # [rows, cols]
    rank: int | None = None

    @property
    def flat(self) -> Array:
        return self.entries.ravel()

    @property
    def constant(self) -> bool:
        return bool(self.entries.max() == self.entries.min())

    @property
    def std(self) -> float:
        return 0.0 if self.constant else float(self.flat.std(ddof=1))

    @property
    def z(self) -> Array:
        return np.asarray((self.flat - self.flat.mean()) / self.std)


def delta(scale: float, up: Array, down: Array) -> Subject:
    """Form scale * up @ down term by term: equal rows of `up` then stay equal to the last bit."""
    terms = [np.outer(up[:, k], down[k]) for k in range(up.shape[1])]
    return Subject(scale * np.sum(terms, axis=0), rank=up.shape[1])


def ratio(above: float, below: float) -> float:
    """Divide; a ratio with nothing below it is 0."""
    return float(above / below) if below else 0.0


def near(values: Array, edge: float | Array, distance: float = EDGE) -> int:
    """Count the entries that rounding may carry over an edge."""
    return int(np.sum(np.abs(values - edge) <= distance))


def of_order_one(value: float, relative: float, absolute: float = 0.0) -> Expected:
    """Expect a feature whose natural scale is one, however small its column happens to be."""
    return Expected(float(value), relative, relative + absolute)


def entropy(p: Array) -> float:
    """Return -sum p ln p, an empty bin being worth nothing."""
    return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


def padded(values: Array, length: int) -> Array:
    """Cut to a length, or fill up with 0."""
    return np.concatenate([values, np.zeros(length)])[:length]
