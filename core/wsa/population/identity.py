"""Identity: what the weights are, by content, remembered so that a second run reads none."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import xxhash

from wsa.storage import canonical_digest, seal, to_json, unseal, write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from wsa.population.population import Population, Shard


@dataclass(frozen=True)
class Identity:
    """The digests of a shard's rows, where equal is equal weights, and which are not finite."""

    digests: tuple[str, ...]
    not_finite: tuple[int, ...]  # rows within the shard

    @classmethod
    def of(cls, shard: Shard) -> Identity:
        """Return the identity of a shard just read."""
        return cls(tuple(shard.digests), tuple((~shard.valid).nonzero()[0].tolist()))

    @cached_property
    def digest(self) -> str:
        """Return one digest of all rows, in order."""
        return canonical_digest(list(self.digests))


class IdentityMemo:
    """Row digests of shards already read, kept beside the cache under the state of their files.

    A file that changed in size or time, or moved, is read again: the memo can only save work.
    """

    def __init__(self, directory: Path, population: Population) -> None:
        self.directory = directory
        self.state = _state(population.files())
        self.layout = layout_digest(population)

    def recall(self, start: int, stop: int) -> Identity | None:
        """Return a shard's identity, or None where its files are not as they were."""
        path = self._path(start, stop)
        if path is None or not path.exists():
            return None
        payload = unseal(path.read_bytes())
        if payload is None:
            return None
        record = json.loads(payload)
        return Identity(tuple(record["digests"]), tuple(record["not_finite"]))

    def remember(self, shard: Shard) -> None:
        """Keep the identity of a shard just read."""
        path = self._path(shard.start, shard.stop)
        if path is not None:
            found = Identity.of(shard)
            record = {"digests": list(found.digests), "not_finite": list(found.not_finite)}
            write_bytes(path, seal(to_json(record).encode()))

    def _path(self, start: int, stop: int) -> Path | None:
        if not self.state:
            return None
        key = canonical_digest([self.state, self.layout, start, stop])
        return self.directory / f"{key}.sealed"


def row_digests(flat: Tensor, scale: Tensor) -> list[str]:
    """Return the xxh3-128 of every adapter's bytes: its weights and the scale of its modules."""
    return [
        xxhash.xxh3_128_hexdigest(weights.tobytes() + scales.tobytes())
        for weights, scales in zip(flat.numpy(), scale.numpy(), strict=True)
    ]


def layout_digest(population: Population) -> str:
    """Return a digest of the names, shapes and places of every layer."""
    layout = population.layout
    names = population.catalogue.factors.names
    return canonical_digest([names, layout.shapes, layout.offsets, layout.pairs])


def _state(files: Sequence[str]) -> list[list[Any]]:
    found = [(os.path.abspath(name), os.stat(name)) for name in files]
    return [[name, status.st_size, status.st_mtime_ns] for name, status in found]
