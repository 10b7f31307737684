"""Labels: one column of a population as classes 0..K-1, as levels in order, or as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsa.errors import WsaError
from wsa.progress import say
from wsa.train import CLASSES, ORDINAL, REGRESSION, Goal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsa.population.population import Population

NAMED = 8  # adapters named in a message
TENTHS = 10
LARGEST = 1e30  # its fourth power, in the variance of squared errors, is far from float64's end


@dataclass(frozen=True)
class Labels:
    """The label of every adapter; `known` is False where the column holds none."""

    name: str
    kind: str
    codes: np.ndarray  # [N] int64: the class, or of a number its tenth; 0 where not known
    values: np.ndarray  # [N] float64: the number itself; elsewhere the code
    known: np.ndarray  # [N] bool
    classes: tuple[str, ...]  # of a number its tenths
    groups: np.ndarray | None  # [N] int64, adapters that no split may part

    @property
    def goal(self) -> Goal:
        """Return what a classifier is to tell."""
        if self.kind == REGRESSION:
            return Goal(REGRESSION, 1)
        return Goal(self.kind, len(self.classes))

    def text(self, row: int) -> str | None:
        """Return one adapter's label in words, None where it has none."""
        if not self.known[row]:
            return None
        return f"{self.values[row]:g}" if self.kind == REGRESSION else self.classes[self.codes[row]]

    @property
    def targets(self) -> np.ndarray:
        """Return what a head is trained on: [N] float64 of a number, int64 of a class."""
        return self.values if self.kind == REGRESSION else self.codes


def read_labels(population: Population, name: str, task: str | None = None) -> Labels:
    """Read a label column and the `group` column where there is one.

    Floats are numbers, all else classes, unless `task` says otherwise. Raises WsaError for an
    unknown column and for one that does not hold what the task needs.
    """
    column = population.column(name)
    kind = task or (REGRESSION if pa.types.is_floating(column.type) else CLASSES)
    _refuse_unfit(column.type, name, kind)
    known = _known(population, column, name)
    values = column.filter(pa.array(known))
    groups = _groups(population)
    if kind == REGRESSION:
        numbers = np.zeros(population.count)
        numbers[known] = np.asarray(values.cast(pa.float64()))
        _refuse_extreme(numbers[known], name)
        codes, bins = strata(numbers, known)
        return Labels(name, kind, codes, numbers, known, bins, groups)
    classes = sorted(pc.unique(values).to_pylist())
    codes = np.zeros(population.count, dtype=np.int64)
    codes[known] = np.asarray(pc.index_in(values, value_set=pa.array(classes, column.type)))
    words = tuple(f"{each:g}" if isinstance(each, float) else str(each) for each in classes)
    return Labels(name, kind, codes, codes.astype(np.float64), known, words, groups)


def strata(
    values: np.ndarray, known: np.ndarray, bins: int = TENTHS
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Part known numbers into bins of about equal size, so that a split can be stratified."""
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, bins + 1)[1:-1]))
    codes = np.searchsorted(edges, values, side="right")
    codes = np.unique(codes[known], return_inverse=True)[1]
    out = np.zeros(len(values), dtype=np.int64)
    out[known] = codes
    members = [values[known][codes == code] for code in range(int(codes.max()) + 1)]
    return out, tuple(f"{each.min():.3g} to {each.max():.3g}" for each in members)


def _known(population: Population, column: pa.ChunkedArray, name: str) -> np.ndarray:
    """Return which rows hold a label, and name those that do not."""
    known = np.array(column.is_valid())
    if pa.types.is_floating(column.type):
        known &= np.isfinite(column.to_numpy().astype(np.float64))
    missing = np.flatnonzero(~known)
    if len(missing):
        more = ", ..." if len(missing) > NAMED else ""
        told = ", ".join(population.name(row) for row in missing[:NAMED].tolist())
        say(
            f"label {name!r} is missing or not finite for {len(missing)} adapters: {told}{more}; "
            f"they are left out"
        )
    if len(missing) == len(known):
        raise _nothing_there(name)
    return known


def _nothing_there(name: str) -> WsaError:
    return WsaError(f"label column {name!r} holds no label at all; name another after --label")


def _refuse_extreme(numbers: np.ndarray, name: str) -> None:
    """Raise WsaError for numbers whose squared errors, squared, float64 might not hold."""
    greatest, spread = float(np.abs(numbers).max()), float(np.ptp(numbers))
    if greatest > LARGEST or 0 < spread < 1 / LARGEST:
        raise WsaError(
            f"label column {name!r} needs numbers up to {LARGEST:g} that lie {1 / LARGEST:g} apart "
            f"or more; got up to {greatest:.3g}, {spread:.3g} apart; give them in another unit"
        )


def _refuse_unfit(found: pa.DataType, name: str, kind: str) -> None:
    numbers = (pa.types.is_integer, pa.types.is_floating)
    words = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)
    needs: dict[str, tuple[Sequence[Any], str]] = {
        CLASSES: (
            (pa.types.is_integer, *words),
            "classes: integers, text or booleans; for floats say --task regression",
        ),
        REGRESSION: (numbers, "numbers; for classes say --task classes"),
        ORDINAL: (numbers, "levels in order, as numbers; for text say --task classes"),
    }
    if pa.types.is_null(found):
        raise _nothing_there(name)
    tests, needed = needs[kind]
    if not any(test(found) for test in tests):
        raise WsaError(f"label column {name!r} holds {found}; needed {needed}")


def _groups(population: Population) -> np.ndarray | None:
    if "group" not in population.labels.column_names:
        return None
    column = population.labels.column("group").combine_chunks()
    if pa.types.is_nested(column.type):
        raise WsaError(f"column 'group' holds {column.type}; needed one value an adapter")
    encoded = column.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if encoded.null_count:
        raise WsaError(
            f"column 'group' has {encoded.null_count} empty rows; every adapter needs one"
        )
    return np.asarray(encoded.indices).astype(np.int64)
