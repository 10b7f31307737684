"""Layerwise: run one function over every tile of a population and put its features in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from wsa_kernels.matrices import Factors, Matrices, Tile, working, working_dtype

if TYPE_CHECKING:
    from wsa_kernels.survey import Survey

# Maps equally shaped matrices [B, rows, cols] to their features [B, F].
Core = Callable[[Tensor], Tensor]


class Part(NamedTuple):
    """The features of some layers of some adapters, on their way to their places."""

    adapters: slice
    layers: Tensor  # [G] int64
    features: Tensor  # [n * G, F]


def per_layer(
    matrices: Matrices,
    core: Core,
    widths: tuple[int, ...],
    of_survey: Callable[[Survey], Tensor] | None = None,
    fused: bool = False,
) -> list[Tensor]:
    """Apply a function to every layer of every adapter, a tile of equal shapes at a time.

    Large updates are not formed for it where their features [B, F] follow from a survey. A
    function that is `fused` gets larger tiles of stored matrices.
    """
    if isinstance(matrices, Factors):
        return gathered(matrices, _parts(matrices.tiles(fused), core), widths)
    if of_survey is None or not matrices.takes_short_cuts:
        return gathered(matrices, _parts(matrices.tiles(), core), widths)
    from wsa_kernels.survey import MOST_SORTED, surveys  # which stands on operations

    small, large = _parts(matrices.tiles(MOST_SORTED), core), surveys(matrices)
    known = (Part(each.adapters, each.modules, of_survey(each.survey)) for each in large)
    return gathered(matrices, chain(small, known), widths)


def entrywise(core: Core) -> Core:
    """Return a core that gives another one entries [B, n], whatever their places."""
    return lambda values: core(values.flatten(1))


def gathered(matrices: Matrices, parts: Iterator[Part], widths: tuple[int, ...]) -> list[Tensor]:
    """Put parts into natural layer order and cut their features into fields."""
    shape = (len(matrices.flat), matrices.count, sum(widths))
    out = matrices.flat.new_empty(shape, dtype=working_dtype(matrices.flat))  # [N, L, F]
    for adapters, layers, features in parts:
        rows = out[adapters]
        values = features.to(out.dtype).view(len(rows), len(layers), shape[-1])
        rows.index_copy_(1, layers, values)
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


def _parts(tiles: Iterator[Tile], core: Core) -> Iterator[Part]:
    for adapters, layers, values in tiles:
        # one batch axis and no gaps: a function sees the same memory whatever the tile was cut from
        batch = working(values).flatten(0, 1).contiguous()
        yield Part(adapters, layers, core(batch))
