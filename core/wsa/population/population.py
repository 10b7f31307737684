"""Population: N adapters with labels, counted and checked, read shard by shard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from wsa.errors import unknown
from wsa.formats.refusal import Refused
from wsa.population.buffers import Buffers
from wsa.storage import canonical_digest

if TYPE_CHECKING:
    from wsa.layers import Catalogue
    from wsa.population.examination import Loaded
    from wsa_kernels.layout import Layout

# A shard is the unit that is read, computed, cached and committed: 64 MiB, at most 1,024 adapters.
SHARD_BYTES = 64 << 20
SHARD_ADAPTERS = 1024

Span = tuple[int, int]  # (start, stop) of a shard
Read = TypeVar("Read")


@dataclass(frozen=True)
class Group:
    """A run of adapters, up to `stop`, whose matrices have equal shapes and so lie alike."""

    stop: int
    layout: Layout
    dtype: torch.dtype

    @property
    def row_bytes(self) -> int:
        """Count the bytes of one adapter."""
        return self.layout.size * self.dtype.itemsize

    @property
    def shard_adapters(self) -> int:
        """Adapters in a shard: a power of two, so that a growing population keeps its shards."""
        fitting = SHARD_BYTES // max(1, self.row_bytes)
        return min(SHARD_ADAPTERS, 1 << max(0, fitting.bit_length() - 1))


@dataclass(frozen=True)
class Shard:
    """The weights of adapters `start` to `stop`; `valid` is False where one is not finite."""

    start: int
    stop: int
    flat: Tensor  # [n, P], rows that are not valid are zero
    scale: Tensor  # [n, M]
    valid: np.ndarray  # [n] bool
    digests: list[str]  # of each row's bytes as stored

    @property
    def span(self) -> Span:
        """Return (start, stop)."""
        return self.start, self.stop


class Population(ABC):
    """N adapters of one base model: their layers, where those lie, and their labels.

    Sources differ in how a shard is read and what tells that its files are as they were.
    """

    catalogue: Catalogue
    groups: tuple[Group, ...]
    labels: pa.Table  # [N] rows: every column that is not a layer
    # where one bad adapter stops a run that does not say --skip-bad
    is_strict = False
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    pinned: bool = False  # asks for buffers that CUDA copies from without one of its own

    @abstractmethod
    def load(self, start: int, stop: int) -> Loaded:
        """Read a shard as it is stored, finite or not, and examine it."""

    @abstractmethod
    def state(self, start: int, stop: int) -> list[Any]:
        """Tell what would change if a shard's files did; empty where nothing would tell."""

    @abstractmethod
    def head(self, count: int) -> Population:
        """Return the first adapters only."""

    def read(self, start: int, stop: int) -> Shard:
        """Read the adapters of a shard into one flat buffer; those not finite are zero."""
        return _masked(start, self.load(start, stop))

    @cached_property
    def buffers(self) -> Buffers:
        """Return the memory that shards are read into."""
        return Buffers()

    @property
    def count(self) -> int:
        """N."""
        return self.groups[-1].stop

    def group(self, row: int) -> Group:
        """Return the group that an adapter is in."""
        return self.groups[self.group_number(row)]

    def group_number(self, row: int) -> int:
        """Return which group an adapter is in, from 0 up."""
        return bisect_right(self.groups, row, key=lambda group: group.stop)

    @property
    def layout(self) -> Layout:
        """Return the layout of the widest group: of all adapters where there is one."""
        return max((each.layout for each in self.groups), key=lambda layout: layout.size)

    def name(self, row: int) -> str:
        """Return how an adapter is called in messages: its row, or its file."""
        return str(row)

    @property
    def identifiers(self) -> pa.Array:
        """Return what tells adapters apart in a table, [N]: rows, or files' names."""
        return pa.array(np.arange(self.count))

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one label column; raises WsaError where there is none of that name."""
        if name not in self.labels.column_names:
            raise unknown("label column", name, self.labels.column_names)
        return self.labels.column(name)

    def ranges(self) -> list[Span]:
        """Return (start, stop) of every shard; none lies in two groups."""
        spans, start = [], 0
        for group in self.groups:
            spans += self._cut(start, group)
            start = group.stop
        return spans

    def shards(self, ranges: Sequence[Span]) -> Iterator[Shard]:
        """Read shards in order, the next one while the caller works on this one."""
        return ahead(self.read, ranges)

    def layout_digest(self, row: int) -> str:
        """Return a digest of the names, shapes and places of every layer of an adapter."""
        return self._layout_digests[self.group_number(row)]

    @cached_property
    def _layout_digests(self) -> list[str]:
        names = self.catalogue.factors.names
        layouts = [group.layout for group in self.groups]
        return [canonical_digest([names, x.shapes, x.offsets, x.pairs]) for x in layouts]

    def _cut(self, start: int, group: Group) -> list[Span]:
        step = group.shard_adapters
        return [(at, min(group.stop, at + step)) for at in range(start, group.stop, step)]


def ahead(read: Callable[[int, int], Read], ranges: Sequence[Span]) -> Iterator[Read]:
    """Read shards in order, one more than the caller has asked for: two are held at a time."""
    with ThreadPoolExecutor(1) as reader:
        coming = deque(reader.submit(read, *span) for span in ranges[:1])
        for following in ranges[1:]:
            found = coming.popleft().result()
            coming.append(reader.submit(read, *following))
            yield found
        if coming:
            yield coming.popleft().result()


def _masked(start: int, found: Loaded) -> Shard:
    for row in (~found.valid).nonzero()[0].tolist():
        found.flat[row], found.scale[row] = 0, 0
    return Shard(start, start + len(found.flat), **vars(found))
