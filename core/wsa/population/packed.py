"""Packed: a population in a packed store, each shard one read; nothing of it is believed unread."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from wsa.errors import WsaError, cause
from wsa.formats.refusal import Refused, shown
from wsa.population.examination import Loaded
from wsa.population.labelling import ADAPTER
from wsa.population.manifest import (
    LABELS,
    MANIFEST,
    MARKER,
    SHARDS,
    Manifest,
    is_manifest,
    load_manifest,
)
from wsa.population.population import Population, Span
from wsa.population.shard_file import AGAIN, OTHER_BYTES, load_shard
from wsa.storage import digest

if TYPE_CHECKING:
    from wsa.population.manifest import StoredShard


class PackedPopulation(Population):
    """N adapters of a packed store; its shards are those that were written."""

    def __init__(self, root: Path, manifest: Manifest, count: int) -> None:
        self.root, self.manifest = root, manifest
        self.catalogue, self.notes = manifest.catalogue, manifest.notes
        self.refused = manifest.refused
        begins = [0, *(group.stop for group in manifest.groups)]
        pairs = zip(begins, manifest.groups, strict=False)
        kept = [replace(group, stop=min(group.stop, count)) for at, group in pairs if at < count]
        self.groups = tuple(kept)

    @cached_property
    def labels(self) -> pa.Table:
        """Return the label columns, the adapters' names before them."""
        return load_labels(self.root, self.manifest).slice(0, self.count)

    def head(self, count: int) -> PackedPopulation:
        """Return the first adapters only."""
        return PackedPopulation(self.root, self.manifest, count)

    def name(self, row: int) -> str:
        """Return how the adapter was called where it was packed."""
        return shown(str(self.labels.column(ADAPTER)[row].as_py()))

    @property
    def identifiers(self) -> pa.Array:
        """Return what every adapter was called where it was packed, [N]."""
        return self.labels.column(ADAPTER).combine_chunks()

    def ranges(self) -> list[Span]:
        """Return (start, stop) of every shard, as stored."""
        spans = zip([0, *self._stops], self._stops, strict=False)
        return [(start, min(stop, self.count)) for start, stop in spans if start < self.count]

    def state(self, start: int, stop: int) -> list[Any]:
        """Tell the recorded digest of a shard, and size and time of its file."""
        path = self._path(self._stored(start))
        try:
            status = path.stat()
        except OSError as problem:
            raise _gone(path, problem) from problem
        proof = self._stored(start).digest
        return [proof, stop - start, status.st_size, status.st_mtime_ns]

    def refuse_cut(self, start: int) -> None:
        """Raise WsaError where a shard's file is not there, or not as long as it was written."""
        path, stored = self._path(self._stored(start)), self._stored(start)
        try:
            size = path.stat().st_size
        except OSError as problem:
            raise _gone(path, problem) from problem
        if size != stored.bytes:
            told = f"it has {size} bytes, not the recorded {stored.bytes}"
            raise WsaError(f"{path} is damaged: {told}; {AGAIN}")

    def load(self, start: int, stop: int) -> Loaded:
        """Read a shard into one buffer, pinned where it goes to CUDA.

        Raises WsaError where it is damaged: it is proved whole, and cut where the population is.
        """
        stored, group = self._stored(start), self.group(start)
        buffer = partial(self.buffers.lend_bytes, pinned=self.pinned)
        found = load_shard(self._path(stored), stored, group, buffer)
        rows = slice(0, stop - start)
        return Loaded(**{name: values[rows] for name, values in vars(found).items()})

    def _stored(self, start: int) -> StoredShard:
        return self.manifest.shards[bisect_right(self._stops, start)]

    def _path(self, stored: StoredShard) -> Path:
        return self.root / SHARDS / stored.file

    @cached_property
    def _stops(self) -> list[int]:
        return list(accumulate(shard.rows for shard in self.manifest.shards))


def is_packed(path: Path) -> bool:
    """Tell whether a folder is a packed store; raises WsaError where its packing never ended."""
    if (path / MANIFEST).is_file():
        return is_manifest(path / MANIFEST) or (path / SHARDS).is_dir()
    if (path / MARKER).is_file() and (path / SHARDS).is_dir():
        raise WsaError(f"the packing into {path} never ended; run the same wsa pack again")
    return False


def packed_population(root: Path, limit: int | None = None) -> PackedPopulation:
    """Open a packed store: its manifest and its labels; no shard is read.

    Raises WsaError where one of them is not as it was written, or a shard is missing.
    """
    manifest = load_manifest(root / MANIFEST)
    count = manifest.groups[-1].stop
    found = PackedPopulation(root, manifest, count if limit is None else min(limit, count))
    for span in found.ranges():
        found.refuse_cut(span[0])
    _ = found.labels
    return found


def damaged_parts(root: Path) -> list[Refused]:
    """Read everything of a packed store and say what of it is damaged, and how."""
    manifest = load_manifest(root / MANIFEST)
    found = PackedPopulation(root, manifest, manifest.groups[-1].stop)
    damaged = []
    for name, part in _parts(found):
        try:
            part()
        except WsaError as problem:
            damaged.append(Refused(name, str(problem)))
    return damaged


def load_labels(root: Path, manifest: Manifest) -> pa.Table:
    """Read the labels; raises WsaError where they are not those that were written."""
    path = root / LABELS
    try:
        payload = path.read_bytes()
        if digest(payload) != manifest.labels["digest"]:
            raise WsaError(f"{path} is damaged: {OTHER_BYTES}; {AGAIN}")
        table = pq.read_table(io.BytesIO(payload))
    except OSError as problem:
        raise _gone(path, problem) from problem
    except pa.ArrowException as problem:
        raise WsaError(f"{path} holds no labels: {cause(problem)}") from problem
    if len(table) != manifest.groups[-1].stop or ADAPTER not in table.column_names:
        raise WsaError(f"{path} needs {manifest.groups[-1].stop} rows and names; got {len(table)}")
    return table


def _parts(population: PackedPopulation) -> Iterator[tuple[str, Callable[[], object]]]:
    yield LABELS, lambda: load_labels(population.root, population.manifest)
    for stored, span in zip(population.manifest.shards, population.ranges(), strict=True):
        yield f"{SHARDS}/{stored.file}", partial(population.load, *span)


def _gone(path: Path, problem: OSError) -> WsaError:
    return WsaError(f"{path} cannot be read: {problem.strerror}; {AGAIN}")
