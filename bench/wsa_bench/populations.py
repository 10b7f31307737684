"""Populations: random adapters in the shapes that speed is judged on, never zero or constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from wsa import Setting
from wsa.layers import DELTA, Catalogue, Layers, catalogue
from wsa.zoo.sites import PROJECTIONS, TEXT_PROJECTION, column, module
from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Delta, Factors, Matrices

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# The flagship: Stable Diffusion 1.5's sixteen blocks, 128 matrices, 99,648 floats at rank 1.
WIDTHS = (320,) * 2 + (640,) * 2 + (1280,) * 6 + (640,) * 3 + (320,) * 3
TEXT_WIDTH = 768
# Updates of the whole flagship are 46.7 million entries an adapter: a loop's decompositions take
# 25 s for one. The updates of one block of width 320 stand for them, 553 thousand entries.
NARROW = (320,)
# On the CPU a second or so for each contender, on CUDA a working set past L2.
ADAPTERS = {
    ("cpu", "factors"): 64,
    ("cpu", "delta"): 4,
    ("cuda", "factors"): 8192,
    ("cuda", "delta"): 1024,
}


def flagship_catalogue(widths: Sequence[int], rank: int) -> Catalogue:
    """Return the layers of an adapter of blocks so wide, named as in a published file."""
    shapes = {}
    for block, width in enumerate(widths):
        for projection in PROJECTIONS:
            name = module(block, projection)
            inputs = TEXT_WIDTH if projection == TEXT_PROJECTION else width
            shapes[column(name, "down")] = (rank, inputs)
            shapes[column(name, "up")] = (width, rank)
    return catalogue(shapes)


def widths_of(setting: Setting) -> tuple[int, ...]:
    """Return the blocks' widths that every contender can afford in a view."""
    return NARROW if setting.view == DELTA else WIDTHS


def flagship_layers(setting: Setting) -> Layers:
    """Return the layers of a setting's population, in its view."""
    return flagship_catalogue(widths_of(setting), setting.rank).layers(setting.view)


def flagship(setting: Setting) -> Matrices:
    """Draw adapters of the flagship's shape in the setting's view."""
    found = flagship_catalogue(widths_of(setting), setting.rank)
    layout = Layout.plan([(layer.rows, layer.cols) for layer in found.factors], found.pairs)
    return _in_view(drawn(layout, setting), layout, setting.view)


def uniform(setting: Setting, layers: int, rows: int, cols: int) -> Factors:
    """Draw adapters of equally shaped matrices."""
    layout = Layout.plan([(rows, cols)] * layers)
    return Factors(drawn(layout, setting), layout)


def products(setting: Setting, width: int) -> Delta:
    """Draw adapters of one module, whose update is width x width."""
    layout = Layout.plan([(width, setting.rank), (setting.rank, width)], [(0, 1)])
    found = _in_view(drawn(layout, setting), layout, DELTA)
    assert isinstance(found, Delta)
    return found


def drawn(layout: Layout, setting: Setting) -> Tensor:
    """Draw flat weights [N, P] of a trained scale: 1e-3 in up, 1 / sqrt(inputs) in down."""
    generator = torch.Generator(setting.device).manual_seed(setting.seed)
    shape = (setting.adapters, layout.size)
    flat = torch.randn(shape, generator=generator, device=setting.device)
    flat *= _scales(layout).to(setting.device)
    return flat.to(DTYPES[setting.dtype])


def part(matrices: Matrices, rows: Sequence[int]) -> Matrices:
    """Return some of the adapters, with nothing computed for them yet."""
    flat = matrices.flat[list(rows)]
    if isinstance(matrices, Delta):
        return Delta(flat, matrices.layout, matrices.scale[list(rows)])
    return Factors(flat, matrices.layout)


def fresh(matrices: Matrices) -> Matrices:
    """Return the same weights with nothing computed for them yet: no contender inherits work."""
    return replace(matrices, shared=type(matrices.shared)())


def told(matrices: Matrices) -> str:
    """Say how many matrices of how many entries there are, or updates of which shape."""
    shapes = matrices.layout.shapes
    if not isinstance(matrices, Delta):
        sizes = [(rows * cols,) for rows, cols in shapes]
        return f"{len(matrices.flat)} x {len(shapes)} of {_range(sizes)}"
    pairs = [(shapes[up][0], shapes[down][1]) for up, down in matrices.layout.pairs]
    rank = shapes[matrices.layout.pairs[0][0]][1]
    return f"{len(matrices.flat)} x {len(pairs)} of {_range(pairs)} r{rank}"


def weight_bytes(matrices: Matrices) -> int:
    """Count the bytes of the weights, padding left out."""
    return len(matrices.flat) * matrices.layout.parameters * matrices.flat.itemsize


def entries(matrices: Matrices) -> int:
    """Count the entries that an operation looks at, an update's included."""
    shapes = matrices.layout.shapes
    if not isinstance(matrices, Delta):
        return len(matrices.flat) * matrices.layout.parameters
    pairs = matrices.layout.pairs
    return len(matrices.flat) * sum(shapes[up][0] * shapes[down][1] for up, down in pairs)


def per_entry(operations: float) -> Callable[[Matrices], float]:
    """Count so many operations an entry, an update's entries included: all must be looked at."""
    return lambda matrices: operations * entries(matrices)


def per_stored(operations: float) -> Callable[[Matrices], float]:
    """Count so many operations a stored element and rank: an update need not be formed."""

    def count(matrices: Matrices) -> float:
        rank = min(matrices.layout.shapes[-1])
        return operations * rank * len(matrices.flat) * matrices.layout.parameters

    return count


def _in_view(flat: Tensor, layout: Layout, view: str) -> Matrices:
    if view != DELTA:
        return Factors(flat, layout)
    return Delta(flat, layout, torch.ones(len(flat), len(layout.pairs), device=flat.device))


def _scales(layout: Layout) -> Tensor:
    """Return the standard deviation of every element of a row; 0 for the padding."""
    ups = {up for up, _ in layout.pairs}
    scales = torch.zeros(layout.size)
    for layer, (rows, cols) in enumerate(layout.shapes):
        offset = layout.offsets[layer]
        scales[offset : offset + rows * cols] = 1e-3 if layer in ups else cols**-0.5
    return scales


def _range(shapes: Sequence[tuple[int, ...]]) -> str:
    least, most = ("x".join(map(str, shape)) for shape in (min(shapes), max(shapes)))
    return least if least == most else f"{least} to {most}"
