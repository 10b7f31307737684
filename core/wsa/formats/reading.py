"""Reading: files of one form into rows of the flat buffer, one read a file, one copy a matrix.

The bytes of many files lie as rows of one buffer, so that a matrix of all of them is one strided
copy: 128 copies for some twenty adapters, not for each.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from wsa.formats.algebra import Dense, Embedding, LowRank
from wsa.formats.header import ITEM_BYTES, Stored
from wsa.formats.refusal import BadFile, quoted

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.formats.adapter import AdapterFile, Form, Module, Scale
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
        data = torch.empty(len(files), self._row_bytes, dtype=torch.uint8)
        for row, file in zip(data.numpy(), files, strict=True):
            read_exactly(file.path, row[: self.form.structure.data_bytes], file.data_start)
        for number, module in enumerate(self.modules):
            if module.is_dense:
                self._fill_dense(number, module, data, flat)
            else:
                self._fill_pair(number, module, data, flat)
                scale[:, number] = self.scales(module.scale, data)

    def scales(self, scale: Scale, data: Tensor) -> Tensor:
        """Return one module's scale of every file, [n] float32."""
        if scale.key is None:
            return torch.full((len(data),), scale.value)
        alpha = _tensor(data, self.form.structure.tensors[scale.key]).reshape(len(data))
        return alpha.float() / scale.divisor

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


def stored_alphas(file: AdapterFile) -> dict[str, float]:
    """Return every alpha that a file stores, by the module's name: some bytes each are read."""
    found = {}
    with file.path.open("rb", buffering=0) as handle:
        for module in file.form.modules:
            if module.scale.key is not None:
                stored = file.header.structure.tensors[module.scale.key]
                count = stored.stop - stored.start
                text = os.pread(handle.fileno(), count, file.header.data_start + stored.start)
                if len(text) < count:
                    raise BadFile("it was cut while it was read")
                found[module.name] = _number(text, stored)
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


def _number(text: bytes, stored: Stored) -> float:
    return float(torch.frombuffer(bytearray(text), dtype=DTYPES[stored.dtype])[0])


def _tensor(data: Tensor, stored: Stored) -> Tensor:
    """Return one tensor of every file, [n, *shape], a view where it lies on its boundary."""
    part = data[:, stored.start : stored.stop]
    if stored.start % ITEM_BYTES[stored.dtype]:
        part = part.clone(memory_format=torch.contiguous_format)
    return part.view(DTYPES[stored.dtype]).view(len(data), *(stored.shape or (1,)))
