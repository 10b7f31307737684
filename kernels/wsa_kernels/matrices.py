"""What an operation works on: all matrices of all adapters, stored (`Factors`) or not (`Delta`).

Both hand out `Tile`s, so an entry-wise operation is written once for the two views. A spectrum or
a norm of `Delta` never needs the product: it takes `Delta.pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from wsa_kernels.gram import product
from wsa_kernels.layout import Layout

# The float64 temporaries of one operation on a tile stay in a core's cache: on one core eight
# operations took 2.6 ms an adapter of 100k floats with 1 MiB, 2.8 with 2 MiB, 3.0 with 512 KiB.
TILE_BYTES = 1 << 20
# Compiled code has no temporaries, only calls to save: moments of 64 x 128 x 1,280 fp32 took 6.5 ms
# with 64 MiB, 7.4 with 16 MiB and 12.7 with 1 MiB (one core of an AMD EPYC with AVX-512).
FUSED_TILE_BYTES = 32 << 20
# On CUDA a tile is a launch: few and large.
CUDA_TILE_BYTES = 256 << 20


Result = TypeVar("Result")


class Tile(NamedTuple):
    """Equally shaped matrices: `values[i, g]` is layer `layers[g]` of adapter `adapters[i]`."""

    adapters: slice
    layers: Tensor  # [G] int64
    values: Tensor  # [n, G, rows, cols]


class Pairs(NamedTuple):
    """Equally shaped modules: the update of `modules[g]` is scale * up @ down."""

    modules: Tensor  # [G] int64
    up: Tensor  # [N, G, out, R]
    down: Tensor  # [N, G, R, in]
    scale: Tensor  # [N, G]


@dataclass(frozen=True)
class Shared:
    """What several operations on one shard need, computed when the first of them asks."""

    found: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """Return what was computed under a key, or compute it now."""
        if key not in self.found:
            self.found[key] = compute()
        result: Result = self.found[key]
        return result


@dataclass(frozen=True)
class Factors:
    """The stored matrices of a shard, flat [N, P]; a layer is one of them."""

    flat: Tensor
    layout: Layout
    shared: Shared = field(default_factory=Shared, compare=False, repr=False)

    @property
    def count(self) -> int:
        """L: how many layers an adapter has in this view."""
        return len(self.layout.shapes)

    def only(self, layers: Sequence[int]) -> Factors:
        """Keep some layers, all or none of a shape, in the order given."""
        shapes, offsets = self.layout.shapes, self.layout.offsets
        places = tuple(shapes[each] for each in layers), tuple(offsets[each] for each in layers)
        return Factors(self.flat, Layout(*places, (), self.layout.size))

    def tiles(self, fused: bool = False) -> Iterator[Tile]:
        """Yield every matrix once, in tiles of bounded size that copy nothing.

        `fused`: larger ones, for code that keeps nothing of their size.
        """
        for shape_class in self.layout.classes:
            values = shape_class.view(self.flat)
            layers = torch.tensor(shape_class.layers, device=self.flat.device)
            for adapters in runs(len(values), values[:1].nbytes, self.flat.is_cuda, fused):
                yield Tile(adapters, layers, values[adapters])


@dataclass(frozen=True)
class Delta:
    """The updates scale * up @ down of a shard; a layer is a module, and never formed whole."""

    flat: Tensor
    layout: Layout
    scale: Tensor  # [N, M]
    shared: Shared = field(default_factory=Shared, compare=False, repr=False)

    @property
    def count(self) -> int:
        """L: how many layers an adapter has in this view."""
        return len(self.layout.pairs)

    def only(self, modules: Sequence[int]) -> Delta:
        """Keep some modules, all or none of a kind, in the order given."""
        pairs = tuple(self.layout.pairs[each] for each in modules)
        layout = replace(self.layout, pairs=pairs)
        return Delta(self.flat, layout, self.scale[:, list(modules)])

    def pairs(self) -> Iterator[Pairs]:
        """Yield the factors of every module once, one class at a time, without a copy."""
        for module_class in self.layout.module_classes:
            modules = torch.tensor(module_class.modules, device=self.flat.device)
            up, down = module_class.up.view(self.flat), module_class.down.view(self.flat)
            yield Pairs(modules, up, down, self.scale[:, modules])

    def update(self, adapter: int, module: int) -> Tensor:
        """Form one update, [out, in]."""
        up, down = (self._factor(adapter, layer) for layer in self.layout.pairs[module])
        formed = product(up, down) * self.scale[adapter, module].double()
        return formed.to(working_dtype(self.flat))

    def _factor(self, adapter: int, layer: int) -> Tensor:
        (rows, cols), start = self.layout.shapes[layer], self.layout.offsets[layer]
        return self.flat[adapter, start : start + rows * cols].view(rows, cols).double()

    @property
    def takes_short_cuts(self) -> bool:
        """Tell whether entries are described unformed, or counted where they are many.

        Not where float64 asks for the truth itself.
        """
        return not self.flat.is_cuda and self.flat.dtype != torch.float64

    def tiles(self, most: int | None = None) -> Iterator[Tile]:
        """Yield every update once, formed a bounded tile at a time and dropped again.

        Updates of more than `most` entries are left out.
        """
        for modules, up, down, scale in self.pairs():
            count = up.shape[-2] * down.shape[-1]
            if most is not None and count > most:
                continue
            one = count * working_dtype(up).itemsize
            for group in runs(len(modules), one, up.is_cuda):
                for adapters in runs(len(up), one * (group.stop - group.start), up.is_cuda):
                    part = (adapters, group)
                    # rounded once, from float64: entries equal in theory come out equal, where
                    # float32 BLAS would tell rows apart by their place
                    values = product(up[part].double(), down[part].double())
                    values *= scale[part].double()[..., None, None]
                    yield Tile(adapters, modules[group], values.to(working_dtype(up)))


Matrices = Factors | Delta


def working_dtype(values: Tensor) -> torch.dtype:
    """Return the dtype that values are computed in: float32, or float64 where they are."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def working(values: Tensor) -> Tensor:
    """Return values in the dtype they are computed in."""
    return values.to(working_dtype(values))


def runs(count: int, bytes_each: int, on_cuda: bool, fused: bool = False) -> Iterator[slice]:
    """Cut a count into runs of at most a tile's bytes, at least one each."""
    most = CUDA_TILE_BYTES if on_cuda else FUSED_TILE_BYTES if fused else TILE_BYTES
    step = max(1, most // max(1, bytes_each))
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))
