"""Identity: what the weights are, by content, remembered so that a second run reads none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from wsa.storage import canonical_digest, seal, to_json, unseal, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

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

    def edited(self, before: Identity) -> list[int]:
        """Return the rows whose weights are no longer those of an earlier identity."""
        pairs = zip(self.digests, before.digests, strict=True)
        return [row for row, (now, then) in enumerate(pairs) if now != then]

    @cached_property
    def digest(self) -> str:
        """Return one digest of all rows, in order."""
        return canonical_digest(list(self.digests))


class IdentityMemo:
    """Row digests of shards already read, kept beside the cache under the state of their files.

    A file that changed in size or time, or moved, is read again: the memo can only save work.
    """

    def __init__(self, directory: Path, population: Population) -> None:
        self.directory, self.population = directory, population

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
        state = self.population.state(start, stop)
        if not state:
            return None
        key = canonical_digest([state, self.population.layout_digest(start)])
        return self.directory / f"{key}.sealed"
