"""Cache: features by content, each entry proved on reading, bad ones set aside.

An entry is KEY.safetensors and KEY.json, the record, written last: without its record an entry
does not exist. KEY is the SHA-256 of what made the features, so names never become paths.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wsa.errors import EnvironmentProblem
from wsa.progress import say
from wsa.storage import digest, private_directory, remove_partials, write_bytes, write_json

if TYPE_CHECKING:
    from torch import Tensor

KEY_SCHEME = 1
ONE_DAY = 86400.0


class Store(Protocol):
    """Where features are kept while a run needs them: on disk, or in memory for `--no-cache`."""

    quarantined: int

    def has(self, key: str) -> bool:
        """Tell whether an entry was committed under a key; its bytes are proved on reading."""
        ...

    def read(self, key: str) -> Tensor | None:
        """Return features [n, C], or None where there is no entry that can be trusted."""
        ...

    def commit(self, key: str, features: Tensor, inputs: dict[str, Any]) -> int:
        """Keep an entry and return its size in bytes."""
        ...


class Memory:
    """A store that ends with the run."""

    def __init__(self) -> None:
        self.quarantined = 0
        self.entries: dict[str, Tensor] = {}

    def has(self, key: str) -> bool:
        """Tell whether an entry was committed under a key."""
        return key in self.entries

    def read(self, key: str) -> Tensor | None:
        """Return features [n, C], or None."""
        return self.entries.get(key)

    def commit(self, key: str, features: Tensor, inputs: dict[str, Any]) -> int:
        """Keep an entry and return its size in bytes."""
        self.entries[key] = features
        return features.nbytes


class Cache:
    """A store on disk, shared by every run that names the same directory."""

    def __init__(self, root: Path) -> None:
        self.root = private_directory(root)
        _refuse_strangers(self.root)
        self.entries = private_directory(self.root / "features")
        self.identities = private_directory(self.root / "identities")
        self.quarantined = 0
        # writes that were killed; none of another live run is a day old
        remove_partials(self.entries, time.time() - ONE_DAY)
        remove_partials(self.identities, time.time() - ONE_DAY)

    def has(self, key: str) -> bool:
        """Tell whether an entry was committed under a key."""
        return self._record(key).is_file() and self._payload(key).is_file()

    def read(self, key: str) -> Tensor | None:
        """Return the features [n, C] of an entry that is as recorded in length, digest and shape.

        None where there is no entry; what fails the proof is moved to `quarantine/`, said and
        counted.
        """
        if not self._record(key).exists():
            return None
        problem, features = self._proved(key)
        if problem:
            self._quarantine(key, problem)
        return features

    def commit(self, key: str, features: Tensor, inputs: dict[str, Any]) -> int:
        """Write an entry, payload first and record last; return the bytes written."""
        import safetensors.torch

        payload = safetensors.torch.save({"features": features.contiguous()})
        record = {
            "inputs": inputs,
            "bytes": len(payload),
            "digest": digest(payload),
            "shape": list(features.shape),
            "written": time.time(),
        }
        write_bytes(self._payload(key), payload)
        write_json(self._record(key), record)
        return len(payload)

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the key and the record of every entry; records that do not parse are set aside."""
        for path in sorted(self.entries.glob("*.json")):
            record = _parse(path)
            if record is None:
                self._quarantine(path.stem, "its record does not parse")
            else:
                yield path.stem, record

    def remove(self, key: str) -> None:
        """Remove an entry, its record first, so that no half of it is ever believed."""
        self._record(key).unlink(missing_ok=True)
        self._payload(key).unlink(missing_ok=True)

    def empty_quarantine(self) -> int:
        """Remove what was set aside as damaged; count the files."""
        aside = list((self.root / "quarantine").glob("*"))
        for path in aside:
            path.unlink(missing_ok=True)
        return len(aside)

    def _proved(self, key: str) -> tuple[str, Tensor | None]:
        import safetensors.torch

        record = _parse(self._record(key))
        if record is None:
            return "its record does not parse", None
        try:
            payload = self._payload(key).read_bytes()
        except OSError as problem:
            return f"its payload cannot be read ({problem.strerror})", None
        if len(payload) != record["bytes"]:
            return f"it has {len(payload)} bytes, its record says {record['bytes']}", None
        if digest(payload) != record["digest"]:
            return "its bytes do not have the recorded digest", None
        features = safetensors.torch.load(payload)["features"]
        if list(features.shape) != record["shape"]:
            return f"its shape is not the recorded {record['shape']}", None
        return "", features

    def _quarantine(self, key: str, problem: str) -> None:
        self.quarantined += 1
        aside = private_directory(self.root / "quarantine")
        for path in (self._record(key), self._payload(key)):
            if path.exists():
                os.replace(path, aside / path.name)
        say(f"cache entry {key[:12]} set aside: {problem}; it will be computed again")

    def _payload(self, key: str) -> Path:
        return self.entries / f"{key}.safetensors"

    def _record(self, key: str) -> Path:
        return self.entries / f"{key}.json"


def default_cache_dir() -> Path:
    """Return the per-user cache directory."""
    import platformdirs

    return Path(platformdirs.user_cache_path("wsa")) / "cache"


def _parse(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    needed = ("inputs", "bytes", "digest", "shape", "written")
    return record if isinstance(record, dict) and all(name in record for name in needed) else None


def _refuse_strangers(root: Path) -> None:
    owner = root.stat().st_uid
    if owner != os.getuid():
        raise EnvironmentProblem(
            f"cache directory {root} belongs to user {owner}; use one of your own (--cache-dir)"
        )
