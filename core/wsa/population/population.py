"""Population: N adapters with labels, counted and checked, read shard by shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from wsa.errors import WsaError, unknown
from wsa.layers import Catalogue, catalogue, split_key
from wsa.population.columns import element_type, is_layer, matrices_of, shape_of
from wsa.population.source import open_dataset
from wsa_kernels.layout import Layout

if TYPE_CHECKING:
    from datasets import Dataset

# A shard is the unit that is read, computed, cached and committed: 64 MiB, at most 1,024 adapters.
SHARD_BYTES = 64 << 20
SHARD_ADAPTERS = 1024


@dataclass(frozen=True)
class Shard:
    """The weights of adapters `start` to `stop`; `valid` is False where one is not finite."""

    start: int
    stop: int
    flat: Tensor  # [n, P], rows that are not valid are zero
    scale: Tensor  # [n, M]
    valid: np.ndarray  # [n] bool
    digests: list[str]  # of each row's bytes as stored


@dataclass(frozen=True)
class Population:
    """N adapters of one base model: their layers, where those lie, and their labels."""

    dataset: Dataset
    catalogue: Catalogue
    layout: Layout
    dtype: torch.dtype
    count: int  # N
    num_workers: int = 4

    @cached_property
    def labels(self) -> pa.Table:
        """Return every column that is not a layer, [N] rows."""
        columns = [name for name in self.dataset.column_names if name not in self._keys]
        return _table(self.dataset.select_columns(columns), 0, self.count)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one label column; raises WsaError where there is none of that name."""
        if name not in self.labels.column_names:
            raise unknown("label column", name, self.labels.column_names)
        return self.labels.column(name)

    @property
    def shard_adapters(self) -> int:
        """Adapters in a shard: a power of two, so that a growing population keeps its shards."""
        fitting = SHARD_BYTES // max(1, self.layout.size * self.dtype.itemsize)
        return min(SHARD_ADAPTERS, 1 << max(0, fitting.bit_length() - 1))

    def ranges(self) -> list[tuple[int, int]]:
        """Return (start, stop) of every shard."""
        step = self.shard_adapters
        return [(start, min(self.count, start + step)) for start in range(0, self.count, step)]

    def files(self) -> list[str]:
        """Return the files the weights lie in; empty for a data set in memory."""
        return [entry["filename"] for entry in self.dataset.cache_files]

    def shards(self, ranges: list[tuple[int, int]]) -> Iterator[Shard]:
        """Read shards in order, the next one while the caller works on this one."""
        with ThreadPoolExecutor(1) as reader:
            coming = deque(reader.submit(self.read, *span) for span in ranges[:1])
            for following in ranges[1:]:
                shard = coming.popleft().result()
                coming.append(reader.submit(self.read, *following))
                yield shard
            if coming:
                yield coming.popleft().result()

    def read(self, start: int, stop: int) -> Shard:
        """Read adapters `start` to `stop` into one flat buffer, `num_workers` columns at once."""
        from wsa.population.identity import row_digests

        table = _table(self.dataset.select_columns(list(self.catalogue.keys)), start, stop)
        flat = torch.zeros(stop - start, self.layout.size, dtype=self.dtype)
        with ThreadPoolExecutor(self.num_workers) as pool:
            list(pool.map(lambda layer: self._fill(flat, table, layer), range(len(self._keys))))
        scale = torch.ones(stop - start, len(self.layout.pairs))
        digests = row_digests(flat, scale)
        valid = torch.isfinite(flat).all(1)
        flat[~valid] = 0
        return Shard(start, stop, flat, scale, valid.numpy(), digests)

    @property
    def _keys(self) -> tuple[str, ...]:
        return self.catalogue.keys

    def _fill(self, flat: Tensor, table: pa.Table, layer: int) -> None:
        key, shape = self._keys[layer], self.layout.shapes[layer]
        values = matrices_of(table.column(key), key, shape)
        offset, size = self.layout.offsets[layer], shape[0] * shape[1]
        flat[:, offset : offset + size] = torch.from_numpy(_writable(values))


def open_population(name: str, limit: int | None = None, num_workers: int = 4) -> Population:
    """Open the population a name stands for; reads the first row only.

    Raises WsaError where nothing is there, no column is a layer, or factors do not pair.
    """
    dataset = open_dataset(name)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if not count:
        raise WsaError(f"{name} holds no adapters; nothing to do")
    schema = dataset.features.arrow_schema
    layers = [field for field in schema if is_layer(field)]
    _refuse_lost_halves(schema, layers)
    if not layers:
        raise WsaError(
            f"{name} has no layer columns: needed matrices (lists of lists of floats), one column "
            f"per matrix; found {', '.join(schema.names[:8])}"
        )
    shapes = _shapes(dataset, [field.name for field in layers])
    found = catalogue(shapes)
    layout = Layout.plan([shapes[key] for key in found.keys], found.pairs)
    half = all(pa.types.is_float16(element_type(field)) for field in layers)
    dtype = torch.float16 if half else torch.float32
    return Population(dataset, found, layout, dtype, count, num_workers)


def _refuse_lost_halves(schema: pa.Schema, layers: list[pa.Field]) -> None:
    """Refuse a column that is named as half of a module but holds no matrix of floats."""
    for field in schema:
        if split_key(field.name)[1] and field not in layers:
            raise WsaError(
                f"column {field.name!r} is named as a LoRA matrix but holds {field.type}; needed "
                f"lists of lists of floats: reshape it, or leave the column out"
            )


def _shapes(dataset: Dataset, names: list[str]) -> dict[str, tuple[int, int]]:
    first = _table(dataset.select_columns(names), 0, 1)

    def rank() -> int:
        if "rank" not in dataset.column_names:
            raise WsaError("layer columns are flat lists: a 'rank' column must say their shape")
        found = dataset[0]["rank"]
        if not isinstance(found, int) or found < 1:
            raise WsaError(f"column 'rank' needs a whole number from 1 up; row 0 has {found!r}")
        return found

    return {name: shape_of(first.column(name), name, rank) for name in names}


def _table(dataset: Dataset, start: int, stop: int) -> pa.Table:
    # the arrow format slices buffers; any other decodes row by row, some 1,000 times slower
    return dataset.with_format("arrow")[start:stop]


def _writable(values: np.ndarray) -> np.ndarray:
    return values if values.flags.writeable else values.copy()
