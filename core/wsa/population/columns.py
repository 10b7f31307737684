"""Columns: matrices held by Arrow, read into the flat buffer without a Python list between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wsa.errors import WsaError
from wsa.layers import split_key

if TYPE_CHECKING:
    from collections.abc import Callable

_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)


def is_layer(field: pa.Field) -> bool:
    """Tell whether a column holds one matrix per adapter: a LoRA half, or lists of lists."""
    depth, leaf = _nesting(field.type)
    if not pa.types.is_floating(leaf):
        return False
    return depth == 2 or (depth == 1 and split_key(field.name)[1] != "")


def shape_of(column: pa.ChunkedArray, name: str, rank: Callable[[], int]) -> tuple[int, int]:
    """Return (rows, cols) of the matrices in a column; a flat list needs the population's rank."""
    sizes = _sizes(_array(column), name)
    if len(sizes) == 2:
        return sizes[0], sizes[1]
    if sizes[0] % rank():
        raise WsaError(f"column {name!r}: {sizes[0]} values do not divide into rank {rank()}")
    longer = sizes[0] // rank()
    return (rank(), longer) if split_key(name)[1] == "down" else (longer, rank())


def element_type(field: pa.Field) -> pa.DataType:
    """Return the floating type of a layer column's values."""
    return _nesting(field.type)[1]


def matrices_of(column: pa.ChunkedArray, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Return a column as [n, rows * cols], a view of Arrow's buffer where its layout allows.

    Raises WsaError, naming the column and the row, for a missing or a ragged matrix.
    """
    array = _array(column)
    sizes = _sizes(array, name)
    if int(np.prod(sizes)) != shape[0] * shape[1] or (len(sizes) == 2 and tuple(sizes) != shape):
        found = " x ".join(map(str, sizes))
        raise WsaError(f"column {name!r}: needs {shape[0]} x {shape[1]} in every row, got {found}")
    while isinstance(array.type, _LISTS):
        array = array.flatten()
    if array.null_count:
        raise WsaError(f"column {name!r} has {array.null_count} missing values; fill or drop them")
    return np.asarray(array).reshape(-1, shape[0] * shape[1])


def _array(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _sizes(array: pa.Array, name: str) -> list[int]:
    """Return the one length of every level of nested lists; ragged levels are refused."""
    sizes = []
    while isinstance(array.type, _LISTS):
        if array.null_count:
            row = int(np.flatnonzero(np.asarray(array.is_null()))[0])
            raise WsaError(f"column {name!r} has no matrix in row {row}; every adapter needs one")
        sizes.append(_length(array, name))
        array = array.flatten()
    return sizes


def _length(array: pa.Array, name: str) -> int:
    if isinstance(array.type, pa.FixedSizeListType):
        return int(array.type.list_size)
    lengths = np.diff(np.asarray(array.offsets))
    if len(lengths) and (lengths != lengths[0]).any():
        row = int(np.flatnonzero(lengths != lengths[0])[0])
        raise WsaError(
            f"column {name!r} is ragged: list {row} has {lengths[row]} entries, the first has "
            f"{lengths[0]}; every adapter needs one shape"
        )
    return int(lengths[0]) if len(lengths) else 0


def _nesting(kind: Any) -> tuple[int, pa.DataType]:
    depth = 0
    while isinstance(kind, (*_LISTS, pa.ExtensionType)):
        if isinstance(kind, pa.ExtensionType):
            kind = kind.storage_type
            continue
        kind, depth = kind.value_type, depth + 1
    return depth, kind
