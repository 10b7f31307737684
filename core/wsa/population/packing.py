"""Packing: any population into a store that is read a shard at a time, by one read each.

A shard's file is called after the state of what it was made from: a packing that was killed, or
whose source has grown, goes on with the shards that are missing. The manifest is written last.
"""

from __future__ import annotations

import io
import json
import os
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from torch import Tensor

from wsa.errors import WsaError, cause, unknown
from wsa.formats.refusal import quoted
from wsa.population.assembly import refuse_not_finite
from wsa.population.labelling import ADAPTER
from wsa.population.manifest import (
    DTYPES,
    FORMAT,
    LABELS,
    MANIFEST,
    MARKER,
    SHARDS,
    Manifest,
    StoredGroup,
    StoredShard,
    load_manifest,
)
from wsa.population.population import Group, Population, Span, ahead
from wsa.population.shard_file import find_shard, write_shard
from wsa.progress import progress, say
from wsa.storage import (
    PARTIAL,
    canonical_digest,
    digest,
    private_directory,
    refusals,
    remove_partials,
    write_bytes,
    write_json,
)

LOCK = ".lock"
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Packed:
    """What a packing did."""

    adapters: int
    shards: int
    written: int  # of the shards; the others were there
    bytes: int


@dataclass(frozen=True)
class Packing:
    """One population on its way into one folder."""

    population: Population
    source: str
    root: Path
    dtype: str | None = None
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)

    def pack(self) -> Packed:
        """Write every shard that is missing, then the labels, then the manifest."""
        self._refuse_another()
        private_directory(self.root / SHARDS)
        with _locked(self.root):
            self._refuse_another()
            for folder in (self.root, self.root / SHARDS):
                remove_partials(folder, time.time())
            write_json(self.root / MARKER, self._told)
            stored, written = self._shards()
            manifest = self._manifest(stored)
            write_json(self.root / MANIFEST, manifest.record())
            self._clear(stored)
        return Packed(self.population.count, len(stored), written, sum(x.bytes for x in stored))

    @property
    def _told(self) -> dict[str, Any]:
        return {"format": FORMAT, "source": self.source, "asked": self.dtype}

    def _refuse_another(self) -> None:
        """Raise WsaError where the folder holds anything but this packing, begun or done."""
        if self.root.exists() and not self.root.is_dir():
            raise WsaError(f"wsa pack needs a folder to write to; {self.root} is a file")
        found = set(os.listdir(self.root)) if self.root.is_dir() else set()
        strange = {name for name in found if name != LOCK and not name.startswith(PARTIAL)}
        if not strange - {SHARDS} and not self._has_shards():
            return
        told = _begun(self.root)
        if told != self._told:
            held = "something else" if told is None else _called(told)
            raise WsaError(
                f"{self.root} holds {held}, and not {_called(self._told)} packed; choose another "
                f"folder"
            )

    def _has_shards(self) -> bool:
        folder = self.root / SHARDS
        return folder.exists() and (not folder.is_dir() or bool(os.listdir(folder)))

    def _shards(self) -> tuple[list[StoredShard], int]:
        """Return what every shard is, and how many of them had to be written."""
        spans = self.population.ranges()
        found = {span: self._finished(span) for span in spans}
        missing = [span for span in spans if found[span] is None]
        done = sum(stop - start for start, stop in spans if found[start, stop])
        bad: list[int] = []
        with progress("pack", self.population.count, "adapters", done) as bar:
            for span, loaded in zip(missing, ahead(self.population.load, missing), strict=True):
                bad += (np.flatnonzero(~loaded.valid) + span[0]).tolist()
                # a shard that is not written is read, and refused, again the next time
                if self._takes_bad or loaded.valid.all():
                    found[span] = self._write(span, loaded.flat, loaded.scale)
                bar.advance(span[1] - span[0])
        if bad and not self._takes_bad:
            refuse_not_finite(self.population, bad)
        return [shard for shard in found.values() if shard is not None], len(missing)

    @property
    def _takes_bad(self) -> bool:
        return self.skip_bad or not self.population.is_strict

    def _finished(self, span: Span) -> StoredShard | None:
        # nothing tells whether a source in memory is as it was
        if not self.population.state(*span):
            return None
        path = self._path(span)
        found = find_shard(path, span[1] - span[0], self._group(span))
        if found is None and path.exists():
            say(f"{path} is damaged: it is written again")
        return found

    def _write(self, span: Span, flat: Tensor, scale: Tensor) -> StoredShard:
        converted = flat.to(self._group(span).dtype)
        self._refuse_overflow(span, flat, converted)
        return write_shard(self._path(span), converted, scale)

    def _refuse_overflow(self, span: Span, flat: Tensor, converted: Tensor) -> None:
        if converted is flat:
            return
        lost = (converted.isinf() & flat.isfinite()).nonzero()
        if len(lost):
            row, element = lost[0].tolist()
            layer = _layer_at(self.population, span[0], element)
            raise WsaError(
                f"adapter {self.population.name(span[0] + row)}, layer {quoted(layer)} holds "
                f"{float(flat[row, element]):.6g}, which {self.dtype} cannot: choose bf16 or fp32"
            )

    def _group(self, span: Span) -> Group:
        group = self.population.group(span[0])
        dtype = group.dtype if self.dtype is None else DTYPES[self.dtype]
        return Group(group.stop, group.layout, dtype)

    def _path(self, span: Span) -> Path:
        state, layout = self.population.state(*span), self.population.layout_digest(span[0])
        key = canonical_digest([FORMAT, state or span, layout, str(self._group(span).dtype)])
        return self.root / SHARDS / f"{key[:32]}.safetensors"

    def _manifest(self, stored: Sequence[StoredShard]) -> Manifest:
        population = self.population
        return Manifest(
            source=self.source,
            asked=self.dtype,
            keys=population.catalogue.keys,
            stored=tuple(self._stored_groups(stored)),
            labels=self._labels(),
            unequal=population.catalogue.unequal,
            notes=population.notes,
            refused=population.refused,
        )

    def _stored_groups(self, stored: Sequence[StoredShard]) -> Iterator[StoredGroup]:
        pairs = zip(self.population.ranges(), stored, strict=True)
        for _, run in groupby(pairs, key=lambda pair: self.population.group(pair[0][0]).stop):
            spans, shards = zip(*run, strict=True)
            group = self._group(spans[0])
            yield StoredGroup(_DTYPE_NAMES[group.dtype], group.layout.shapes, shards)

    def _labels(self) -> dict[str, Any]:
        """Write the labels, and the adapters' names before them where they hold none."""
        labels = self.population.labels
        if ADAPTER not in labels.column_names:
            names = [self.population.name(row) for row in range(self.population.count)]
            columns = dict(zip(labels.column_names, labels.columns, strict=True))
            labels = pa.table({ADAPTER: names} | columns)
        text = io.BytesIO()
        try:
            pq.write_table(labels, text)
        except pa.ArrowException as problem:
            raise WsaError(f"the labels cannot be written: {cause(problem)}") from problem
        payload = text.getvalue()
        write_bytes(self.root / LABELS, payload)
        columns = {field.name: str(field.type) for field in labels.schema}
        return {"bytes": len(payload), "digest": digest(payload), "columns": columns}

    def _clear(self, stored: Sequence[StoredShard]) -> None:
        """Remove the shards of a source that was another, and the mark of a packing begun."""
        kept = {shard.file for shard in stored}
        for path in (self.root / SHARDS).glob("*.safetensors"):
            if path.name not in kept:
                path.unlink()
        (self.root / MARKER).unlink()


def pack(
    population: Population,
    source: str,
    root: Path,
    dtype: str | None = None,
    skip_bad: bool = False,
) -> Packed:
    """Pack a population into a folder; the same again goes on where it stopped.

    Raises WsaError where the folder holds something else, where a weight has no finite value in
    `dtype`, and, unless bad files may be skipped, for files that are not finite; a run leaves those
    that are packed out of training.
    """
    place = os.path.abspath(source) if os.path.exists(source) else source
    return Packing(population, place, root, dtype, skip_bad).pack()


def _begun(root: Path) -> dict[str, Any] | None:
    """Return what a folder is the packing of, begun or done; None where it is none."""
    if (root / MANIFEST).exists():
        found = load_manifest(root / MANIFEST)
        return {"format": FORMAT, "source": found.source, "asked": found.asked}
    try:
        told = json.loads((root / MARKER).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    sound = isinstance(told, dict) and told.keys() == {"format", "source", "asked"}
    return told if sound and told["format"] == FORMAT else None


def _called(told: dict[str, Any]) -> str:
    return f"{told['source']} as {told['asked'] or 'stored'}"


def _layer_at(population: Population, row: int, element: int) -> str:
    """Name the layer that an element of the flat buffer belongs to."""
    offsets = population.group(row).layout.offsets
    order = sorted(range(len(offsets)), key=offsets.__getitem__)
    place = bisect_right([offsets[layer] for layer in order], element) - 1
    return population.catalogue.factors[order[place]].name


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    with refusals(root):
        lock = FileLock(root / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as problem:
            raise WsaError(f"another wsa is packing into {root}; wait for it") from problem
    with lock:
        yield
