"""Contract: what a representation gives back is checked before anything is cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wsa.errors import PluginFailure, cause
from wsa.representation import Column, Representation

if TYPE_CHECKING:
    from wsa.layers import Layers
    from wsa.population.batch import Batch
    from wsa.representation import Composite


def held_to_contract(representation: Representation | Composite, batch: Batch) -> Tensor:
    """Extract [n, C] features; raises PluginFailure, expected against got, for any breach."""
    assert isinstance(representation, Representation)
    columns = named_columns(representation, batch.layers)
    before = batch.flat._version
    try:
        values = representation.extract(batch)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        raise PluginFailure(f"it raised {cause(problem)}") from problem
    _refuse_breach(values, (len(batch), len(columns)), batch)
    if batch.flat._version != before:
        raise PluginFailure("it wrote to the batch's weights, which others read after it")
    return values


def named_columns(representation: Representation, layers: Layers) -> list[Column]:
    """Return a representation's columns, each of a known layer and none twice."""
    try:
        columns = list(representation.columns(layers))
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        raise PluginFailure(f"its columns(layers) raised {cause(problem)}") from problem
    known = set(layers.names)
    for column in columns:
        if not isinstance(column, Column) or column.layer not in known:
            raise PluginFailure(f"columns(layers) needs a Column of a known layer, got {column!r}")
    if len(set(columns)) != len(columns):
        double = next(column for column in columns if columns.count(column) > 1)
        raise PluginFailure(f"columns(layers) needs unique columns, got {double.name!r} twice")
    return columns


def _refuse_breach(values: Any, shape: tuple[int, int], batch: Batch) -> None:
    needed = f"needed float32 {list(shape)} on {batch.device}"
    if not isinstance(values, Tensor):
        raise PluginFailure(f"{needed}, got {type(values).__name__}")
    if values.shape != shape or values.dtype != torch.float32 or values.device != batch.device:
        kind = str(values.dtype).removeprefix("torch.")
        raise PluginFailure(f"{needed}, got {kind} {list(values.shape)} on {values.device}")
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise PluginFailure(
            f"needed finite features, got {values[row, column].item()} in row {row}, "
            f"column {column} of a shard ({len(bad)} in all)"
        )
