"""Identity: what the weights are, by content, remembered so that a second run reads none."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import xxhash
from torch import Tensor

from wsa.storage import canonical_digest, seal, to_json, unseal, write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.population.population import Population, Shard


# How a type's bits are read, and which of them say the exponent: all set, it is no finite number.
EXPONENTS = {
    torch.float16: (torch.int16, 0x7C00),
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float32: (torch.int32, 0x7F800000),
}
# Entries whose bits are looked at together: what is in between stays in a core's cache.
PART = 1 << 18
THREADS = 4


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


def row_digests(flat: Tensor, scale: Tensor) -> list[str]:
    """Return the xxh3-128 of every adapter's bytes: its weights and the scale of its modules."""
    return [digest for digest, _ in _examined(flat, scale)]


def examined(flat: Tensor, scale: Tensor) -> tuple[list[str], np.ndarray]:
    """Return the digest of every adapter's bytes, and which adapters are finite, [n] bool."""
    digests, finite = zip(*_examined(flat, scale), strict=True)
    return list(digests), np.array(finite)


def _examined(flat: Tensor, scale: Tensor) -> list[tuple[str, bool]]:
    count = max(1, -(-len(flat) // THREADS))
    with ThreadPoolExecutor(THREADS) as pool:
        # a run of rows each: threads that meet at every row wait for one another
        parts = pool.map(_examined_part, torch.split(flat, count), torch.split(scale, count))
        return [row for part in parts for row in part]


def _examined_part(flat: Tensor, scale: Tensor) -> list[tuple[str, bool]]:
    kind, mask = EXPONENTS[flat.dtype]
    weights, bits, scales = flat.view(torch.uint8), flat.view(kind), scale.view(torch.uint8)
    known = torch.isfinite(scale).all(1).tolist()
    rows = zip(weights.numpy(), bits.numpy(), scales.numpy(), known, strict=True)
    # one after the other on each row: it is in the core's cache the second time
    return [(_digest(own, other), _finite(words, mask) and ok) for own, words, other, ok in rows]


def _finite(words: np.ndarray, mask: int) -> bool:
    """Tell whether no number has all bits of its exponent set; torch's isfinite takes 40 times."""
    if words.dtype == np.int32 and math.isfinite(torch.from_numpy(words).view(torch.float32).sum()):
        return True  # a sum shows every NaN and infinity, for a third of the time
    parts = (words[at : at + PART] for at in range(0, len(words), PART))
    return all(int((part & mask).max()) != mask for part in parts)


def _digest(*rows: np.ndarray) -> str:
    state = xxhash.xxh3_128()
    for row in rows:
        state.update(row.data)
    return str(state.hexdigest())
