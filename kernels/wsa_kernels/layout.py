"""Layout: a ragged set of matrices in one flat [N, P] buffer, equal shapes side by side.

Layers are numbered in the population's natural order. In the buffer they lie in another one:
every matrix of one shape in one run, so that a shape class is a zero-copy view.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# 16 elements are 32 bytes of fp16: every layer starts on a boundary a 16-byte load may use.
ALIGNMENT = 16


@dataclass(frozen=True)
class ShapeClass:
    """A run of equally shaped matrices: `layers[g]` lies at `offset + g * stride`."""

    layers: tuple[int, ...]
    rows: int
    cols: int
    offset: int

    @property
    def stride(self) -> int:
        """Elements from one matrix to the next, padding included."""
        return padded(self.rows * self.cols)

    def view(self, flat: Tensor) -> Tensor:
        """Return these matrices of every adapter, [N, G, rows, cols], without a copy."""
        shape = (flat.shape[0], len(self.layers), self.rows, self.cols)
        strides = (flat.stride(0), self.stride, self.cols, 1)
        return flat.as_strided(shape, strides, flat.storage_offset() + self.offset)


@dataclass(frozen=True)
class ModuleClass:
    """Modules whose up and down factors have equal shapes; `modules[g]` is up[g] @ down[g]."""

    modules: tuple[int, ...]
    up: ShapeClass
    down: ShapeClass


@dataclass(frozen=True)
class Layout:
    """Where each layer lies in a row of P elements, and which two factors make a module.

    `shapes[l]` is (rows, cols) of layer l, `offsets[l]` its first element; `pairs[m]` is
    (up, down), the two layers whose product is module m's update. Padding is zero.
    """

    shapes: tuple[tuple[int, int], ...]
    offsets: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    size: int  # P

    @classmethod
    def plan(
        cls, shapes: Sequence[tuple[int, int]], pairs: Sequence[tuple[int, int]] = ()
    ) -> Layout:
        """Place layers so that equal shapes, and within them equal partners, are neighbours."""
        partner = dict(pairs) | {down: up for up, down in pairs}
        module = {layer: m for m, pair in enumerate(pairs) for layer in pair}
        is_up = {up for up, _ in pairs}

        def place(layer: int) -> tuple[object, ...]:
            other = shapes[partner[layer]] if layer in partner else (0, 0)
            # the module's number, not the layer's: both factors then lie in the same order
            return (*shapes[layer], layer in is_up, other, module.get(layer, layer))

        offsets, end = [0] * len(shapes), 0
        for layer in sorted(range(len(shapes)), key=place):
            offsets[layer] = end
            end += padded(shapes[layer][0] * shapes[layer][1])
        return cls(tuple(shapes), tuple(offsets), tuple(pairs), end)

    @cached_property
    def classes(self) -> tuple[ShapeClass, ...]:
        """Return the shape classes, in buffer order."""
        order = sorted(range(len(self.shapes)), key=self.offsets.__getitem__)
        runs = groupby(order, key=self.shapes.__getitem__)
        return tuple(self._run(tuple(layers)) for _, layers in runs)

    @cached_property
    def module_classes(self) -> tuple[ModuleClass, ...]:
        """Return the module classes, each a pair of zero-copy runs."""
        order = sorted(range(len(self.pairs)), key=lambda m: self._place_of_module(m))
        runs = groupby(order, key=lambda m: tuple(self.shapes[layer] for layer in self.pairs[m]))
        return tuple(self._module_run(tuple(modules)) for _, modules in runs)

    @property
    def parameters(self) -> int:
        """Count the elements of one adapter that are not padding."""
        return sum(rows * cols for rows, cols in self.shapes)

    def _place_of_module(self, module: int) -> tuple[object, ...]:
        up, down = self.pairs[module]
        return (self.shapes[up], self.shapes[down], self.offsets[up])

    def _run(self, layers: tuple[int, ...]) -> ShapeClass:
        rows, cols = self.shapes[layers[0]]
        return ShapeClass(layers, rows, cols, self.offsets[layers[0]])

    def _module_run(self, modules: tuple[int, ...]) -> ModuleClass:
        ups = tuple(self.pairs[module][0] for module in modules)
        downs = tuple(self.pairs[module][1] for module in modules)
        return ModuleClass(modules, self._run(ups), self._run(downs))


def padded(elements: int) -> int:
    """Round a number of elements up to the alignment."""
    return -(-elements // ALIGNMENT) * ALIGNMENT
