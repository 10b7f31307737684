"""Layerwise: run one function over every tile of a population and put its features in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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


def gathered(matrices: Matrices, parts: Iterator[Part], widths: tuple[int, ...]) -> list[Tensor]:
    """Put parts into natural layer order and cut their features into fields."""
    shape = (len(matrices.flat), matrices.count, sum(widths))
    out = matrices.flat.new_empty(shape, dtype=working_dtype(matrices.flat))  # [N, L, F]
    for adapters, layers, features in parts:
        values = features.to(out.dtype).view(-1, len(layers), shape[-1])
        out[adapters].index_copy_(1, layers, values)
    return split(out, widths)


def split(features: Tensor, widths: tuple[int, ...]) -> list[Tensor]:
    """Cut features [N, L, F] into fields: [N, L] for a width of 1, else [N, L, width]."""
    fields = torch.split(features, list(widths), dim=-1)
    return [
        field.squeeze(-1) if width == 1 else field
        for field, width in zip(fields, widths, strict=True)
    ]


def side_by_side(fields: Iterable[Tensor]) -> Tensor:
    """Undo `split`."""
    return torch.cat([each if each.dim() == 3 else each.unsqueeze(-1) for each in fields], -1)


def _parts(matrices: Matrices, core: Core) -> Iterator[Part]:
    for adapters, layers, values in matrices.tiles():
        # one batch axis and no gaps: a function sees the same memory whatever the tile was cut from
        batch = working(values).flatten(0, 1).contiguous()
        yield Part(adapters, layers, core(batch))
