"""Reading: files of one form into rows of the flat buffer, one read a file.

What is stored as it lies is read into its place. Of what is not, the bytes of many files lie as
rows of one buffer, so that a matrix of all of them is one strided copy.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from wsa.formats.algebra import Dense, Embedding, LowRank
from wsa.formats.header import ITEM_BYTES, Stored
from wsa.formats.refusal import BadFile, quoted
from wsa.formats.scatter import Scatter, plan_scatter

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.formats.adapter import AdapterFile, Form, Module
    from wsa_kernels.layout import Layout

# A buffer that stays in a core's cache between the read and the copies out of it.
BUFFER_BYTES = 8 << 20
DTYPES = {
    **{"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32},
    **{"F64": torch.float64, "I64": torch.int64, "I32": torch.int32},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2},
}


class Located(Protocol):
    """A file, and where its tensors begin."""

    @property
    def path(self) -> str | Path:
        """Return where it is."""

    @property
    def data_start(self) -> int:
        """Return the first byte after its header."""


@dataclass(frozen=True)
class Filler:
    """Puts files of one form where a population's layout has their matrices."""

    form: Form
    layout: Layout
    modules: tuple[Module, ...]  # in the population's order

    @property
    def files_at_once(self) -> int:
        """Return how many files are read into one buffer."""
        return max(1, BUFFER_BYTES // self._row_bytes)

    @property
    def _row_bytes(self) -> int:
        # every row starts on a boundary that any type may have
        return -(-self.form.structure.data_bytes // 64) * 64

    def fill(self, files: Sequence[Located], flat: Tensor, scale: Tensor) -> None:
        """Read files into rows of flat [n, P], zero where nothing is stored, and scale [n, M].

        Raises BadFile, with the path, for a file that is not as its header said.
        """
        if self._scatter is None or self.layout.size != self.layout.parameters:
            flat.zero_()
        if self._scatter is not None:
            self._fill_scales(scale, self._scatter.read(files, flat), self._scatter.rest)
            return
        data = torch.empty(len(files), self._row_bytes, dtype=torch.uint8)
        for row, file in zip(data.numpy(), files, strict=True):
            read_exactly(file.path, row[: self.form.structure.data_bytes], file.data_start)
        for number, module in enumerate(self.modules):
            fill = self._fill_dense if module.is_dense else self._fill_pair
            fill(number, module, data, flat)
        self._fill_scales(scale, data, self.form.structure.tensors)

    @cached_property
    def _scatter(self) -> Scatter | None:
        return plan_scatter(self.form, self.layout, self.modules)

    def _fill_scales(self, scale: Tensor, data: Tensor, tensors: Mapping[str, Stored]) -> None:
        """Set the scale of every module, from the alphas that lie in the data where it has one."""
        scale[:] = self._constant_scales[: scale.shape[1]]
        for number, module in enumerate(self.modules):
            key = module.scale.key
            if key is not None and not module.is_dense:
                alpha = _tensor(data, tensors[key]).reshape(len(data))
                scale[:, number] = alpha.float() / module.scale.divisor

    @cached_property
    def _constant_scales(self) -> Tensor:
        return torch.tensor([module.scale.value for module in self.modules])

    def _fill_dense(self, layer: int, module: Module, data: Tensor, flat: Tensor) -> None:
        matrix = self._stored(module, data)["dense"].reshape(len(data), *self.layout.shapes[layer])
        self._place(flat, layer).copy_(matrix)

    def _fill_pair(self, number: int, module: Module, data: Tensor, flat: Tensor) -> None:
        up, down = module.kind.factors(self._stored(module, data))  # type: ignore[union-attr]
        if module.rows is not None:
            up = torch.cat([up[:, slice(*rows)] for rows in module.rows], 1)
        left, right = self.layout.pairs[number]
        # a narrower pair keeps zeros in what is left of the rank
        self._place(flat, left)[:, :, : up.shape[2]].copy_(up)
        self._place(flat, right)[:, : down.shape[1]].copy_(down)

    def _stored(self, module: Module, data: Tensor) -> dict[str, Tensor]:
        tensors = self.form.structure.tensors
        found = {role: _tensor(data, tensors[key]) for role, key in module.keys}
        plain = isinstance(module.kind, LowRank | Embedding | Dense) and "mid" not in found
        return found if plain else {role: each.float() for role, each in found.items()}

    def _place(self, flat: Tensor, layer: int) -> Tensor:
        rows, cols = self.layout.shapes[layer]
        offset = flat.storage_offset() + self.layout.offsets[layer]
        return flat.as_strided((len(flat), rows, cols), (flat.stride(0), cols, 1), offset)


def sound_alphas(file: AdapterFile) -> dict[str, float]:
    """Return every alpha that a file stores, by the module's name; some bytes each are read.

    Raises BadFile for one that says nothing: its module would be scaled to zero, or to no number.
    """
    found = _stored_alphas(file)
    for name, alpha in found.items():
        if alpha == 0 or not math.isfinite(alpha):
            raise BadFile(f"module {quoted(name)} has alpha {alpha:g}; needed one other than 0")
    return found


def _stored_alphas(file: AdapterFile) -> dict[str, float]:
    places = file.form.alphas
    with open(file.path, "rb", buffering=0) as handle:
        texts = [
            os.pread(handle.fileno(), each.stop - each.start, file.header.data_start + each.start)
            for each in places.values()
        ]
    needed = sum(each.stop - each.start for each in places.values())
    if sum(map(len, texts)) != needed:
        raise BadFile("it was cut while it was read")
    found: dict[str, float] = {}
    for dtype in {each.dtype for each in places.values()}:
        alike = {
            n: t for (n, each), t in zip(places.items(), texts, strict=True) if each.dtype == dtype
        }
        # one conversion for all: a file of 48 modules is described in 0.31 ms, not in 0.47
        values = torch.frombuffer(bytearray(b"".join(alike.values())), dtype=DTYPES[dtype])
        found |= dict(zip(alike, values.tolist(), strict=True))
    return found


def read_exactly(path: str | Path, row: np.ndarray, start: int) -> None:
    """Read bytes of a file into an array, by one call where the system allows."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            view, done = row.data, 0
            while done < len(view) and (count := file.readinto(view[done:])):
                done += count
    except OSError as problem:
        raise BadFile(f"{quoted(str(path))} cannot be read: {problem.strerror}") from problem
    if done < len(view):
        raise BadFile(f"{quoted(str(path))} has become shorter than its header said")


def _tensor(data: Tensor, stored: Stored) -> Tensor:
    """Return one tensor of every file, [n, *shape], a view where it lies on its boundary."""
    part = data[:, stored.start : stored.stop]
    if stored.start % ITEM_BYTES[stored.dtype]:
        part = part.clone(memory_format=torch.contiguous_format)
    return part.view(DTYPES[stored.dtype]).view(len(data), *(stored.shape or (1,)))
