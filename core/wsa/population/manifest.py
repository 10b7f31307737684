"""Manifest: what a packed store says it holds, proved before any of it is believed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from wsa.errors import WsaError, cause
from wsa.formats.refusal import Refused, quoted
from wsa.layers import Catalogue, catalogue
from wsa.population.population import Group
from wsa_kernels.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "wsa packed 1"
MANIFEST, LABELS, SHARDS = "manifest.json", "labels.parquet", "shards"
MARKER = "packing.json"  # lies there until the manifest does
# 100,000 adapters of 128 layers need 1 MB; what is longer than this is something else.
LONGEST_MANIFEST = 256 << 20
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_FILE = re.compile(r"[0-9a-f]{32}\.safetensors")
_LARGEST = 1 << 40
Item = TypeVar("Item")


class Unsound(Exception):
    """Why a manifest cannot be believed."""


@dataclass(frozen=True)
class StoredShard:
    """One file of a packed store: so many adapters, and the digest of their digests."""

    file: str
    rows: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class StoredGroup:
    """Adapters that lie alike, and the shards they lie in."""

    dtype: str
    shapes: tuple[tuple[int, int], ...]  # of every layer, in the order of the keys
    shards: tuple[StoredShard, ...]

    @property
    def rows(self) -> int:
        """Count the adapters."""
        return sum(shard.rows for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """Everything of a packed store but its weights and labels."""

    source: str
    asked: str | None  # the type all weights were turned into, if they were
    keys: tuple[str, ...]
    stored: tuple[StoredGroup, ...]
    labels: Mapping[str, Any]  # bytes, digest and columns of the labels' file
    unequal: str | None
    notes: tuple[str, ...]
    refused: tuple[Refused, ...]

    @cached_property
    def catalogue(self) -> Catalogue:
        """Return the layers of every adapter: names and pairs follow from the keys."""
        found = catalogue(dict(zip(self.keys, self.stored[0].shapes, strict=True)))
        return Catalogue(found.keys, found.factors, found.pairs, self.unequal)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Return the population's groups."""
        groups, stop = [], 0
        for each in self.stored:
            stop += each.rows
            layout = Layout.plan(each.shapes, self.catalogue.pairs)
            groups.append(Group(stop, layout, DTYPES[each.dtype]))
        return tuple(groups)

    @cached_property
    def shards(self) -> list[StoredShard]:
        """Return the shards of all groups, in the order of their adapters."""
        return [shard for group in self.stored for shard in group.shards]

    def record(self) -> dict[str, Any]:
        """Return the manifest as JSON: with names and places, for readers that are not wsa."""
        factors = self.catalogue.factors
        return {
            "format": FORMAT,
            "source": self.source,
            "asked": self.asked,
            "keys": list(self.keys),
            "layers": factors.names,
            "modules": list(dict.fromkeys(layer.module for layer in factors)),
            "pairs": self.catalogue.pairs,
            "groups": [self._group(*pair) for pair in zip(self.stored, self.groups, strict=True)],
            "labels": dict(self.labels),
            "unequal": self.unequal,
            "notes": list(self.notes),
            "refused": [[each.name, each.reason] for each in self.refused],
        }

    def _group(self, stored: StoredGroup, group: Group) -> dict[str, Any]:
        return {
            "dtype": stored.dtype,
            "size": group.layout.size,
            "shapes": group.layout.shapes,
            "offsets": group.layout.offsets,
            "shards": [[each.file, each.rows, each.bytes, each.digest] for each in stored.shards],
        }


def load_manifest(path: Path) -> Manifest:
    """Read a manifest; raises WsaError, with what is wrong, for one that cannot be believed."""
    try:
        return _sound(_parsed(path))
    except (Unsound, WsaError) as problem:
        raise WsaError(
            f"{path} is no manifest of a packed store: {problem}; remove the store, or choose "
            f"another folder, and pack the population again"
        ) from problem


def is_manifest(path: Path) -> bool:
    """Tell whether a file says that it is a manifest, sound or not."""
    try:
        return f'"format": "{FORMAT.rsplit(" ", 1)[0]}' in path.read_text("utf-8", "replace")
    except OSError:
        return False


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LONGEST_MANIFEST:
            raise Unsound(f"it is longer than {LONGEST_MANIFEST} bytes")
        found = json.loads(path.read_bytes())
    except OSError as problem:
        raise Unsound(f"it cannot be read ({problem.strerror})") from problem
    except (ValueError, RecursionError) as problem:
        raise Unsound(f"it is not JSON ({cause(problem)})") from problem
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Unsound(f"it needs the format {FORMAT!r}")
    return found


def _sound(record: dict[str, Any]) -> Manifest:
    keys = tuple(_items(record, "keys", str))
    groups = tuple(_stored_group(each, len(keys)) for each in _items(record, "groups", dict))
    if not keys or not groups:
        raise Unsound("it needs keys and groups")
    refused = tuple(Refused(*_row(each, str, str)) for each in _items(record, "refused", list))
    texts = {name: _field(record, name, str, type(None)) for name in ("asked", "unequal")}
    found = Manifest(
        source=_field(record, "source", str),
        asked=texts["asked"],
        keys=keys,
        stored=groups,
        labels=_labels(_field(record, "labels", dict)),
        unequal=texts["unequal"],
        notes=tuple(_items(record, "notes", str)),
        refused=refused,
    )
    _refuse_misfit(found, record)
    return found


def _refuse_misfit(found: Manifest, record: dict[str, Any]) -> None:
    """Refuse names and places that are not those that follow from keys and shapes."""
    if found.catalogue.keys != found.keys:
        raise Unsound("its keys are not in the natural order")
    again = json.loads(json.dumps(found.record()))
    for name in ("layers", "pairs"):
        if record.get(name) != again[name]:
            raise Unsound(f"its {name} do not fit its keys")
    for told, needed in zip(record["groups"], again["groups"], strict=True):
        if any(told.get(name) != needed[name] for name in ("size", "offsets")):
            raise Unsound("a layout does not fit its shapes")
    files = [shard.file for shard in found.shards]
    if len(set(files)) != len(files):
        raise Unsound("it names a shard twice")


def _stored_group(record: dict[str, Any], layers: int) -> StoredGroup:
    dtype = _field(record, "dtype", str)
    if dtype not in DTYPES:
        raise Unsound(f"it has weights of type {quoted(dtype)}; needed {', '.join(DTYPES)}")
    shapes = tuple(_shape(each) for each in _items(record, "shapes", list))
    if len(shapes) != layers:
        raise Unsound(f"a group has {len(shapes)} shapes for {layers} keys")
    shards = tuple(_shard(each) for each in _items(record, "shards", list))
    if not shards:
        raise Unsound("a group has no shards")
    return StoredGroup(dtype, shapes, shards)


def _shape(sizes: list[Any]) -> tuple[int, int]:
    rows, cols = _row(sizes, int, int)
    return _size(rows), _size(cols)


def _shard(entry: list[Any]) -> StoredShard:
    file, rows, size, proof = _row(entry, str, int, int, str)
    if not _FILE.fullmatch(file):
        raise Unsound(f"{quoted(file)} is no name of a shard")
    return StoredShard(file, _size(rows), _size(size), proof)


def _labels(record: dict[str, Any]) -> dict[str, Any]:
    _size(_field(record, "bytes", int))
    _field(record, "digest", str)
    columns = _field(record, "columns", dict)
    if not all(isinstance(kind, str) for kind in columns.values()):
        raise Unsound("'columns' needs texts")
    return record


def _size(value: int) -> int:
    if not 0 < value < _LARGEST:
        raise Unsound(f"{value} is no size")
    return value


def _field(record: dict[str, Any], name: str, *kinds: type) -> Any:
    # bool is an int, and no size
    if type(record.get(name)) not in kinds:
        raise Unsound(f"{name!r} needs {kinds[0].__name__}, not {type(record.get(name)).__name__}")
    return record[name]


def _items(record: dict[str, Any], name: str, kind: type[Item]) -> list[Item]:
    values: list[Item] = _field(record, name, list)
    if not all(type(value) is kind for value in values):
        raise Unsound(f"{name!r} needs a list of {kind.__name__}")
    return values


def _row(values: Sequence[Any], *kinds: type) -> Sequence[Any]:
    if len(values) != len(kinds) or any(
        type(value) is not kind for value, kind in zip(values, kinds, strict=True)
    ):
        raise Unsound(f"{quoted(str(list(values)))} needs {[kind.__name__ for kind in kinds]}")
    return values
