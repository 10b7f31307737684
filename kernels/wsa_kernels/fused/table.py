"""Table: where each layer lies, as a kernel reads it, and what a kernel may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from wsa_kernels.layout import ALIGNMENT, Layout
from wsa_kernels.matrices import Matrices

POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}
# What the table is for the compiler, and what else most kernels take.
TABLE_TYPES = {"offsets_ptr": "*i64", "rows_ptr": "*i32", "cols_ptr": "*i32"}
STRIDE_TYPES = {"row_stride": "i32", "layers": "i32"}
ALIGNED = tl.constexpr(ALIGNMENT)


class Table(NamedTuple):
    """The layers of a layout on a device; kernels put layers on grid axis 1, adapters on axis 0."""

    offsets: Tensor  # [L] int64, multiples of 16
    rows: Tensor  # [L] int32
    cols: Tensor  # [L] int32


class Modules(NamedTuple):
    """The two factors of each module, as rows of the table."""

    up: Tensor  # [M] int32
    down: Tensor  # [M] int32


@dataclass(frozen=True)
class Build:
    """One specialisation of a kernel as it is compiled without a device, and its budget."""

    kernel: Any
    types: Mapping[str, str]  # by argument, in order, without the constants
    constants: Mapping[str, Any]
    warps: int
    registers: int  # per thread, at most
    # machine instructions that must be there, such as LDG.E.128
    instructions: tuple[str, ...] = field(default=())
    absent: tuple[str, ...] = field(default=())  # and those that must not be


@triton.jit
def size_of(rows_ptr, cols_ptr, layer):
    """Count the entries of a layer."""
    return tl.load(rows_ptr + layer) * tl.load(cols_ptr + layer)


@triton.jit
def padded(size):
    """Return how many places a layer of so many entries takes.

    What is promised here is all the compiler can know: without it every load is 4 bytes wide.
    """
    return tl.multiple_of((size + (ALIGNED - 1)) // ALIGNED * ALIGNED, ALIGNED)


@triton.jit
def first_entry(flat_ptr, offsets_ptr, row_stride, layer):
    """Return where a layer of the program's adapter begins, on grid axis 0."""
    adapter = tl.program_id(0).to(tl.int64)  # N * P outgrows int32
    return flat_ptr + adapter * row_stride + tl.multiple_of(tl.load(offsets_ptr + layer), ALIGNED)


def table(matrices: Matrices) -> Table:
    """Return the layer table of a shard, built once."""
    return matrices.shared.once("table", lambda: _table(matrices.layout, matrices.flat.device))


def modules(matrices: Matrices) -> Modules:
    """Return the factors of every module, built once."""
    return matrices.shared.once("modules", lambda: _modules(matrices.layout, matrices.flat.device))


def longest(layout: Layout) -> int:
    """Count the entries of the greatest layer."""
    return max((rows * cols for rows, cols in layout.shapes), default=0)


def _table(layout: Layout, device: torch.device) -> Table:
    if any(offset % ALIGNMENT for offset in layout.offsets):
        raise ValueError(
            f"kernels need layers at multiples of {ALIGNMENT} elements; see Layout.plan"
        )
    sides = ([shape[side] for shape in layout.shapes] for side in (0, 1))
    small = (torch.tensor(each, dtype=torch.int32, device=device) for each in sides)
    return Table(torch.tensor(layout.offsets, dtype=torch.int64, device=device), *small)


def _modules(layout: Layout, device: torch.device) -> Modules:
    halves = ([pair[half] for pair in layout.pairs] for half in (0, 1))
    return Modules(*(torch.tensor(each, dtype=torch.int32, device=device) for each in halves))
