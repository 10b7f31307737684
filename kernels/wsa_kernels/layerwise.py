"""Layerwise: run one function over every tile of a population and put its features in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.matrices import Matrices, working, working_dtype

# Maps equally shaped matrices [B, rows, cols] to their features [B, F].
Core = Callable[[Tensor], Tensor]


class Part(NamedTuple):
    """The features of some layers of some adapters, on their way to their places."""

    adapters: slice
    layers: Tensor  # [G] int64
    features: Tensor  # [n * G, F]


def per_layer(matrices: Matrices, core: Core, widths: tuple[int, ...]) -> list[Tensor]:
    """Apply a function to every layer of every adapter, a tile of equal shapes at a time."""
    return gathered(matrices, _parts(matrices, core), widths)


def entrywise(core: Core) -> Core:
    """Return a core that gives another one entries [B, n], whatever their places."""
    return lambda values: core(values.flatten(1))


def gathered(matrices: Matrices, parts: Iterator[Part], widths: tuple[int, ...]) -> list[Tensor]:
    """Put parts into natural layer order and cut their features into fields.

    A field of width 1 is [N, L], a wider one [N, L, width].
    """
    shape = (len(matrices.flat), matrices.count, sum(widths))
    out = matrices.flat.new_empty(shape, dtype=working_dtype(matrices.flat))  # [N, L, F]
    for adapters, layers, features in parts:
        values = features.to(out.dtype).view(-1, len(layers), shape[-1])
        out[adapters].index_copy_(1, layers, values)
    fields = torch.split(out, list(widths), dim=-1)
    return [
        field.squeeze(-1) if width == 1 else field
        for field, width in zip(fields, widths, strict=True)
    ]


def _parts(matrices: Matrices, core: Core) -> Iterator[Part]:
    for adapters, layers, values in matrices.tiles():
        # one batch axis and no gaps: a function sees the same memory whatever the tile was cut from
        batch = working(values).flatten(0, 1).contiguous()
        yield Part(adapters, layers, core(batch))
