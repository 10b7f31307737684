"""Seeded populations with every kind of layer the contract names, each adapter another kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.random import Generator
from tests.plugins.subject import Array, Subject, delta

from wsa.layers import DELTA, FACTORS, Catalogue, catalogue
from wsa.population.batch import Batch
from wsa_kernels.layout import Layout

Matrix = Callable[[Generator, int, int], Array]
Modules = tuple[tuple[int, int, int], ...]

# (out, in, rank): square, wide, tall, odd; twice the same; a rank above both sides
MODULES = (
    (40, 40, 4),
    (24, 48, 4),
    (48, 24, 8),
    (33, 17, 1),
    (40, 40, 1),
    (24, 48, 4),
    (40, 40, 8),
    (5, 7, 8),
)
DENSE = (
    (70, 90, 0),
    (90, 70, 0),
    (66, 66, 0),
    (3, 200, 0),
    (1, 1, 0),
    (1, 16, 0),
    (16, 1, 0),
    (2, 2, 0),
)


def gaussian(rng: Generator, rows: int, cols: int) -> Array:
    return rng.normal(0.0, 0.05, (rows, cols))


def heavy(rng: Generator, rows: int, cols: int) -> Array:
    return 0.03 * rng.standard_t(3, (rows, cols))


def shifted(rng: Generator, rows: int, cols: int) -> Array:
    return rng.normal(0.1, 0.005, (rows, cols))


def paired(rng: Generator, rows: int, cols: int) -> Array:
    """Make every second row a copy of the one before: half the rank, to the last bit."""
    return np.repeat(gaussian(rng, -(-rows // 2), cols), 2, axis=0)[:rows]


def grid(rng: Generator, rows: int, cols: int) -> Array:
    """Draw from eight values: many ties, no entry on a histogram's edge (50 k / 7)."""
    return rng.integers(-4, 4, (rows, cols)) / 128


def steep(rng: Generator, rows: int, cols: int) -> Array:
    """Draw singular values that fall from 1 to 1e-4."""
    u, s, v = np.linalg.svd(gaussian(rng, rows, cols), full_matrices=False)
    return np.asarray((u * np.geomspace(1, 1e-4, len(s))) @ v)


def single(rng: Generator, rows: int, cols: int) -> Array:
    matrix = np.zeros((rows, cols))
    matrix[rng.integers(rows), rng.integers(cols)] = -0.25
    return matrix


def constant(rng: Generator, rows: int, cols: int) -> Array:
    """Fill with 1/16: a product of constants is then constant in any order of summation."""
    return np.full((rows, cols), 0.0625)


def zero(rng: Generator, rows: int, cols: int) -> Array:
    return np.zeros((rows, cols))


# adapter -> what its up (or dense) and its down matrices are
ADAPTERS: dict[str, tuple[Matrix, Matrix]] = {
    "gaussian": (gaussian, gaussian),
    "heavy": (heavy, heavy),
    "shifted": (shifted, shifted),
    "up_is_zero": (zero, gaussian),
    "rank_deficient": (paired, paired),
    "constant": (constant, constant),
    "ties": (grid, grid),
    "zero": (zero, zero),
    "steep": (steep, steep),
    "one_entry": (single, single),
    "equal_rows_of_delta": (constant, gaussian),
    "another_gaussian": (gaussian, gaussian),
}


@dataclass
class Population:
    """N adapters as a representation gets them, [N, P], and as the oracle looks at them."""

    adapters: list[str]
    catalogue: Catalogue
    layout: Layout
    flat: torch.Tensor  # [N, P]
    scale: torch.Tensor  # [N, M]

    def __len__(self) -> int:
        return len(self.adapters)

    @property
    def views(self) -> tuple[str, ...]:
        return (FACTORS, DELTA) if self.layout.pairs else (FACTORS,)

    def batch(self, view: str, adapters: slice = slice(None)) -> Batch:
        flat, scale = self.flat[adapters], self.scale[adapters]
        return Batch(flat, self.layout, self.catalogue.layers(view), scale)

    @cached_property
    def numbers(self) -> Array:
        return self.flat.double().numpy()

    def matrix(self, adapter: int, layer: int) -> Array:
        rows, cols = self.layout.shapes[layer]
        start = self.layout.offsets[layer]
        return self.numbers[adapter, start : start + rows * cols].reshape(rows, cols)

    def subject(self, adapter: int, layer: int, view: str) -> Subject:
        if view == FACTORS:
            return Subject(self.matrix(adapter, layer))
        up, down = (self.matrix(adapter, half) for half in self.layout.pairs[layer])
        return delta(float(self.scale[adapter, layer]), up, down)

    def replaced(
        self, change: Callable[[Generator, Array, Array], tuple[Array, Array]]
    ) -> Population:
        """Return the same population with every module's (up, down) changed."""
        rng = np.random.default_rng(7)
        rows = []
        for adapter in range(len(self.adapters)):
            stored: dict[str, Array] = {}
            for up, down in self.layout.pairs:
                halves = change(rng, self.matrix(adapter, up), self.matrix(adapter, down))
                stored |= {self.catalogue.keys[up]: halves[0], self.catalogue.keys[down]: halves[1]}
            rows.append(stored)
        return assemble(self.adapters, rows, self.scale, self.flat.dtype)


def assemble(
    adapters: list[str], rows: list[dict[str, Array]], scale: torch.Tensor, dtype: torch.dtype
) -> Population:
    """Lay matrices, one dictionary an adapter, into a flat buffer."""
    found = catalogue({key: (len(matrix), matrix.shape[1]) for key, matrix in rows[0].items()})
    layout = Layout.plan([(layer.rows, layer.cols) for layer in found.factors], found.pairs)
    flat = torch.zeros(len(rows), layout.size, dtype=dtype)
    for adapter, stored in enumerate(rows):
        for key, offset in zip(found.keys, layout.offsets, strict=True):
            values = torch.from_numpy(stored[key]).flatten()
            flat[adapter, offset : offset + len(values)] = values.to(dtype)
    return Population(adapters, found, layout, flat, scale)


def build(
    modules: Modules,
    dtype: torch.dtype = torch.float32,
    adapters: tuple[str, ...] = tuple(ADAPTERS),
    magnitude: float = 1.0,
) -> Population:
    """Draw a population; a module is (out, in, rank), rank 0 one dense matrix."""
    rng = np.random.default_rng(0)
    scale = torch.from_numpy(rng.uniform(0.5, 2.0, (len(adapters), len(modules)))).float()
    rows = [draw(rng, ADAPTERS[name], modules, magnitude) for name in adapters]
    return assemble(list(adapters), rows, scale, dtype)


def draw(
    rng: Generator, kinds: tuple[Matrix, Matrix], modules: Modules, magnitude: float
) -> dict[str, Array]:
    """Draw the stored matrices of one adapter, by key."""
    stored: dict[str, Array] = {}
    for number, (rows, cols, rank) in enumerate(modules):
        key = f"unet.blocks.{number}.attn1.to_q"
        if rank:
            stored[f"{key}.lora.up.weight"] = magnitude * kinds[0](rng, rows, rank)
            stored[f"{key}.lora.down.weight"] = magnitude * kinds[1](rng, rank, cols)
        else:
            stored[f"{key}.weight"] = magnitude * kinds[0](rng, rows, cols)
    return stored


@lru_cache
def mixed(dtype: torch.dtype = torch.float32) -> Population:
    """Return a population of pairs; cached, so nobody may write to it."""
    return build(MODULES, dtype)


@lru_cache
def dense(dtype: torch.dtype = torch.float32) -> Population:
    """Return a population of unpaired matrices; cached, so nobody may write to it."""
    return build(DENSE, dtype)
