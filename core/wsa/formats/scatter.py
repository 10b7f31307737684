"""Scatter: the matrices of a file read straight to where they belong, by one call a file.

The system copies each byte once, from its cache to its place: no buffer between, and no call of
torch for each of 256 matrices. Only forms that are stored as they lie can be read so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wsa.formats.algebra import Dense, LowRank
from wsa.formats.header import ITEM_BYTES
from wsa.formats.refusal import BadFile, quoted

if TYPE_CHECKING:
    from wsa.formats.adapter import Form, Module
    from wsa.formats.header import Stored
    from wsa.formats.reading import Located
    from wsa_kernels.layout import Layout

# What the system takes in one call: IOV_MAX.
MOST_PARTS = 1024
# Bytes of a file that belong nowhere are read too, to reach those behind them, up to so many.
MOST_REST = 1 << 20


@dataclass(frozen=True)
class Part:
    """So many bytes of a file, and where in a row of the buffer they go; None: nowhere."""

    size: int
    place: int | None


@dataclass(frozen=True)
class Scatter:
    """How files of one form are read into rows of the flat buffer."""

    parts: tuple[Part, ...]  # in the order of the file, all of it
    rest: Mapping[str, Stored]  # tensors that belong nowhere, by where they lie in the rest
    rest_bytes: int

    def read(self, files: Sequence[Located], flat: Tensor) -> Tensor:
        """Read files into rows of flat [n, P], and return the rest of each, [n, bytes]."""
        rest = torch.empty(len(files), self.rest_bytes, dtype=torch.uint8)
        rows = flat.view(torch.uint8).numpy()
        for file, row, other in zip(files, rows, rest.numpy(), strict=True):
            _read(file, list(self._views(row.data, other.data)))
        return rest

    def _views(self, row: memoryview, rest: memoryview) -> Iterator[memoryview]:
        done = 0
        for part in self.parts:
            if part.place is None:
                yield rest[done : done + part.size]
                done += part.size
            else:
                yield row[part.place : part.place + part.size]


def plan_scatter(form: Form, layout: Layout, modules: Sequence[Module]) -> Scatter | None:
    """Return how to read a form straight into a layout; None where something is to be computed."""
    places: dict[str, int] = {}
    for number, module in enumerate(modules):
        found = _places(form, layout, number, module)
        if found is None:
            return None
        places |= found
    parts: list[Part] = []
    rest, done = {}, 0
    for key, stored in sorted(form.structure.tensors.items(), key=lambda item: item[1].start):
        size, place = stored.stop - stored.start, places.get(key)
        _append(parts, Part(size, place))
        if place is None:
            rest[key] = replace(stored, start=done, stop=done + size)
            done += size
    return Scatter(tuple(parts), rest, -(-done // 64) * 64) if done <= MOST_REST else None


def _places(form: Form, layout: Layout, number: int, module: Module) -> dict[str, int] | None:
    """Return the first byte of each of a module's matrices, None where they do not lie so."""
    if not isinstance(module.kind, LowRank | Dense) or module.rows is not None:
        return None
    pair = (number,) if module.is_dense else layout.pairs[number]
    layers = dict(zip(("dense",) if module.is_dense else ("up", "down"), pair, strict=True))
    if {role for role, _ in module.keys} != layers.keys():
        return None
    stored = {key: form.structure.tensors[key] for _, key in module.keys}
    if not all(_lies(form, stored[key], layout.shapes[layers[role]]) for role, key in module.keys):
        return None
    size = ITEM_BYTES[form.dtype]
    return {key: layout.offsets[layers[role]] * size for role, key in module.keys}


def _lies(form: Form, stored: Stored, shape: tuple[int, int]) -> bool:
    """Tell whether a tensor's bytes are those of the matrix, one row after the other."""
    rows = stored.shape[0] if len(stored.shape) > 1 else 1
    return stored.dtype == form.dtype and (rows, math.prod(stored.shape) // rows) == shape


def _append(parts: list[Part], part: Part) -> None:
    """Add a part; one that goes where the last one ends is one with it."""
    last = parts[-1] if parts else None
    if last is None or last.place is None or last.place + last.size != part.place:
        parts.append(part)
    else:
        parts[-1] = Part(last.size + part.size, last.place)


def _read(file: Located, views: list[memoryview]) -> None:
    try:
        with open(file.path, "rb", buffering=0) as handle:
            at = file.data_start
            for first in range(0, len(views), MOST_PARTS):
                at = _fill(handle.fileno(), views[first : first + MOST_PARTS], at, file)
    except OSError as problem:
        raise BadFile(f"{quoted(str(file.path))} cannot be read: {problem.strerror}") from problem


def _fill(handle: int, views: list[memoryview], at: int, file: Located) -> int:
    """Fill views from a place in a file on, by one call where the system allows."""
    while views:
        count = os.preadv(handle, views, at)
        if not count:
            raise BadFile(f"{quoted(str(file.path))} has become shorter than its header said")
        at += count
        views = _left(views, count)
    return at


def _left(views: list[memoryview], count: int) -> list[memoryview]:
    for number, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[number + 1 :]]
        count -= len(view)
    return []
