"""Labels: one column of a population as classes 0..K-1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wsa.errors import WsaError

if TYPE_CHECKING:
    from wsa.population.population import Population


@dataclass(frozen=True)
class Labels:
    """The class of every adapter; `known` is False where the column is empty."""

    name: str
    codes: np.ndarray  # [N] int64, 0 where not known
    known: np.ndarray  # [N] bool
    classes: tuple[str, ...]
    groups: np.ndarray | None  # [N] int64, adapters that no split may part


def read_labels(population: Population, name: str) -> Labels:
    """Read a label column and the `group` column where there is one.

    Raises WsaError for an unknown column and for one that holds no classes.
    """
    column = population.column(name)
    if not _holds_classes(column.type):
        raise WsaError(
            f"label column {name!r} holds {column.type}; needed classes: integers, text or booleans"
        )
    known = np.asarray(column.is_valid())
    values = column.filter(pa.array(known))
    classes = sorted(pc.unique(values).to_pylist())
    codes = np.zeros(population.count, dtype=np.int64)
    codes[known] = np.asarray(pc.index_in(values, value_set=pa.array(classes, column.type)))
    return Labels(name, codes, known, tuple(str(each) for each in classes), _groups(population))


def _holds_classes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean)
    return any(test(kind) for test in tests)


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
