"""Contract: what a representation gives back is checked before anything is cached."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
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
    with _guarded("it"):
        values = representation.extract(batch)
    _refuse_breach(values, (len(batch), len(columns)), batch)
    if not batch.intact():
        raise PluginFailure("it wrote to the batch, which others read after it: work on a copy")
    return values.detach()


def named_columns(representation: Representation, layers: Layers) -> list[Column]:
    """Return a representation's columns, each of a known layer and none twice."""
    with _guarded("its columns(layers)"):
        columns = list(representation.columns(layers))
    known = set(layers.names)
    for column in columns:
        if not isinstance(column, Column) or column.layer not in known:
            raise PluginFailure(f"columns(layers) needs a Column of a known layer, got {column!r}")
    if len(set(columns)) != len(columns):
        double = next(column for column in columns if columns.count(column) > 1)
        raise PluginFailure(f"columns(layers) needs unique columns, got {double.name!r} twice")
    return columns


@contextmanager
def _guarded(what: str) -> Iterator[None]:
    """Name whatever a plugin raises, SystemExit included; what it prints is talk, not a result."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        raise PluginFailure(f"{what} raised {cause(problem)}") from problem


def _refuse_breach(values: Any, shape: tuple[int, int], batch: Batch) -> None:
    needed = f"needed float32 {list(shape)} on {batch.device}"
    if not isinstance(values, Tensor):
        raise PluginFailure(f"{needed}, got {type(values).__name__}")
    if values.layout != torch.strided:
        raise PluginFailure(f"{needed}, got a {values.layout} tensor")
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
