"""Probe: a small population that is made, or taken, to be changed and described again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from wsa.errors import WsaError
from wsa.layers import DELTA, FACTORS, Catalogue, catalogue, split_key
from wsa.population.batch import Batch
from wsa_kernels.layout import Layout

ADAPTERS = 7
RANK = 3
# (out, in) of a module by the end of its name; text-facing ones read another width
SHAPES = {
    "attn1.to_q": (24, 24),
    "attn1.to_v": (24, 24),
    "attn2.to_q": (24, 24),
    "attn2.to_k": (24, 16),
    "attn2.to_v": (24, 16),
    "ff.net.0.proj": (33, 17),
}
# Entries are whole multiples of 2^-12: sums and differences of a few are exact in fp32.
STEP = 2.0**-12

Shapes = Mapping[str, tuple[int, int]]
# Maps (up [N, out, R], down [N, R, in]) to what takes their place.
Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Probe:
    """N adapters as stored matrices by key, each [N, rows, cols], and a scale by module, [N]."""

    stored: Mapping[str, Tensor]
    scales: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.stored.values())))

    @cached_property
    def catalogue(self) -> Catalogue:
        """Return the layers of both views."""
        return catalogue({key: (m.shape[1], m.shape[2]) for key, m in self.stored.items()})

    @cached_property
    def layout(self) -> Layout:
        """Return where each layer lies."""
        shapes = [(layer.rows, layer.cols) for layer in self.catalogue.factors]
        return Layout.plan(shapes, self.catalogue.pairs)

    @property
    def views(self) -> tuple[str, ...]:
        """Return the views there are: `delta` where every matrix has its partner."""
        paired = 2 * len(self.catalogue.pairs) == len(self.catalogue.keys)
        return (FACTORS, DELTA) if paired else (FACTORS,)

    def batch(
        self,
        view: str,
        device: torch.device,
        rows: Sequence[int] | None = None,
        backend: str | None = None,
    ) -> Batch:
        """Return what a representation is given, nothing computed yet, of all rows or some."""
        chosen = torch.arange(len(self)) if rows is None else torch.tensor(rows)
        flat = self._flat()[chosen].to(device)
        scale = self._scale()[chosen].to(device)
        return Batch(flat, self.layout, self.catalogue.layers(view), scale, backend)

    def changed(self, change: Change) -> Probe:
        """Return the population with up and down of every module changed."""
        stored = dict(self.stored)
        for up, down in self.catalogue.pairs:
            keys = self.catalogue.keys[up], self.catalogue.keys[down]
            stored |= zip(keys, change(self.stored[keys[0]], self.stored[keys[1]]), strict=True)
        return Probe(stored, self.scales)

    def only(self, modules: Iterable[str]) -> Probe:
        """Return the population with some of its modules."""
        kept = set(modules)
        stored = {key: m for key, m in self.stored.items() if split_key(key)[0] in kept}
        return Probe(stored, {name: s for name, s in self.scales.items() if name in kept})

    def to(self, dtype: torch.dtype) -> Probe:
        """Return the population as it is when its weights are stored in another dtype."""
        return Probe({key: m.to(dtype) for key, m in self.stored.items()}, self.scales)

    def _flat(self) -> Tensor:
        first = next(iter(self.stored.values()))
        flat = torch.zeros(len(self), self.layout.size, dtype=first.dtype)
        for key, offset in zip(self.catalogue.keys, self.layout.offsets, strict=True):
            values = self.stored[key].flatten(1)
            flat[:, offset : offset + values.shape[1]] = values
        return flat

    def _scale(self) -> Tensor:
        layers = self.catalogue.factors
        modules = [layers[up].module for up, _ in self.catalogue.pairs]
        scales = [self.scales[module] for module in modules]
        return torch.stack(scales, 1) if scales else torch.ones(len(self), 0)


def drawn(
    shapes: Shapes | None = None, adapters: int = ADAPTERS, rank: int = RANK, blocks: int = 2
) -> Probe:
    """Draw a population of LoRA pairs, always the same one."""
    draw = torch.Generator().manual_seed(rank)
    stored, scales = {}, {}
    for block, (name, (rows, cols)) in product(range(blocks), (shapes or SHAPES).items()):
        module = f"unet.blocks.{block}.{name}"
        stored[f"{module}.lora.up.weight"] = _normal(draw, adapters, rows, rank)
        stored[f"{module}.lora.down.weight"] = _normal(draw, adapters, rank, cols)
        # halves and doubles: exact
        scales[module] = 2.0 ** torch.randint(-1, 2, (adapters,), generator=draw).float()
    return Probe(stored, scales)


def taken(dataset: str, most: int = 16) -> Probe:
    """Take the first adapters of a population as they are; raises WsaError where none is finite."""
    from wsa.population.reading import Reading
    from wsa.population.source import open_population

    population = open_population(dataset, Reading(limit=most, skip_bad=True))
    shard = population.read(*population.ranges()[0])
    rows = torch.from_numpy(shard.valid).nonzero().flatten()
    if not len(rows):
        raise WsaError(f"{dataset} needs finite weights; none of its first {most} adapters is")
    layout = population.group(0).layout
    places = zip(population.catalogue.keys, layout.shapes, strict=True)
    stored = {}
    for (key, (height, width)), offset in zip(places, layout.offsets, strict=True):
        values = shard.flat[rows, offset : offset + height * width]
        stored[key] = values.reshape(len(rows), height, width)
    layers = population.catalogue.factors
    modules = [layers[up].module for up, _ in population.catalogue.pairs]
    return Probe(stored, dict(zip(modules, shard.scale[rows].T, strict=True)))


def _normal(draw: torch.Generator, *shape: int) -> Tensor:
    return (torch.randn(shape, generator=draw) * 200).round() * STEP
