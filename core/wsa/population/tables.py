"""Tables: populations whose matrices are columns of a data set, one row an adapter."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from wsa.errors import WsaError
from wsa.layers import Catalogue, catalogue, split_key
from wsa.population.columns import element_type, is_layer, matrices_of, shape_of
from wsa.population.examination import Loaded, examined
from wsa.population.population import Group, Population
from wsa_kernels.layout import Layout

if TYPE_CHECKING:
    from datasets import Dataset


class TablePopulation(Population):
    """A population whose matrices are columns of a Hugging Face data set."""

    def __init__(self, dataset: Dataset, catalogue: Catalogue, group: Group, workers: int) -> None:
        self.dataset, self.catalogue, self.groups = dataset, catalogue, (group,)
        self.num_workers = workers

    @cached_property
    def labels(self) -> pa.Table:
        """Return every column that is not a layer, [N] rows."""
        columns = [name for name in self.dataset.column_names if name not in self.catalogue.keys]
        return _table(self.dataset.select_columns(columns), 0, self.count)

    def head(self, count: int) -> TablePopulation:
        """Return the first adapters only."""
        group = replace(self.groups[0], stop=count)
        return TablePopulation(self.dataset, self.catalogue, group, self.num_workers)

    def state(self, start: int, stop: int) -> list[Any]:
        """Tell path, size and time of the files, and which rows; empty for a table in memory."""
        return [self._files, start, stop] if self._files else []

    @cached_property
    def _files(self) -> list[Any]:
        names = [os.path.abspath(entry["filename"]) for entry in self.dataset.cache_files]
        found = [(name, os.stat(name)) for name in names]
        return [[name, each.st_size, each.st_mtime_ns] for name, each in found]

    def load(self, start: int, stop: int) -> Loaded:
        """Read adapters `start` to `stop` into one flat buffer, `num_workers` columns at once."""
        group = self.group(start)
        table = self._weights[start:stop]
        layout = group.layout
        flat = self.buffers.lend(stop - start, layout.size, group.dtype, self.pinned)
        if layout.size != layout.parameters:
            flat.zero_()
        with ThreadPoolExecutor(self.num_workers) as pool:
            layers = range(len(self.catalogue.keys))
            list(pool.map(lambda layer: self._fill(flat, table, layer), layers))
        return examined(flat, torch.ones(stop - start, len(layout.pairs)))

    @cached_property
    def _weights(self) -> Dataset:
        # choosing columns copies their description, 0.1 s for 128 of them
        return self.dataset.select_columns(list(self.catalogue.keys)).with_format("arrow")

    def _fill(self, flat: Tensor, table: pa.Table, layer: int) -> None:
        layout = self.groups[0].layout
        key, shape = self.catalogue.keys[layer], layout.shapes[layer]
        values = matrices_of(table.column(key), key, shape)
        offset, size = layout.offsets[layer], shape[0] * shape[1]
        flat[:, offset : offset + size] = torch.from_numpy(_writable(values))


def table_population(dataset: Dataset, name: str, limit: int | None, workers: int) -> Population:
    """Find the layers among a data set's columns; reads the first row only.

    Raises WsaError where no column is a layer, or factors do not pair.
    """
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
    group = Group(count, layout, torch.float16 if half else torch.float32)
    return TablePopulation(dataset, found, group, workers)


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
