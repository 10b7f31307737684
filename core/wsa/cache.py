"""Cache: features by content, each entry proved on reading, bad ones set aside.

An entry is KEY.safetensors and KEY.json, the record, written last: without its record an entry
does not exist. KEY is the SHA-256 of what made the features, so names never become paths.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wsa.errors import EnvironmentProblem
from wsa.progress import say
from wsa.storage import (
    canonical_digest,
    digest,
    private_directory,
    remove_partials,
    write_bytes,
    write_json,
)

if TYPE_CHECKING:
    from torch import Tensor

KEY_SCHEME = 1
RECORD = {
    "inputs": dict,
    "bytes": int,
    "digest": str,
    "shape": list,
    "dtype": str,
    "torch": str,
    "written": float,
}
ONE_DAY = 86400.0
# What tells each compiler where to keep its code, and our name for the place.
COMPILERS = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


class Store(Protocol):
    """Where a run keeps features: on disk, or in memory with `--no-cache-features`."""

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

    def remove(self, key: str) -> None:
        """Remove an entry where there is one."""
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

    def remove(self, key: str) -> None:
        """Remove an entry where there is one."""
        self.entries.pop(key, None)


class Cache:
    """A store on disk, shared by every run that names the same directory."""

    def __init__(self, root: Path) -> None:
        self.root = private_directory(root)
        _refuse_strangers(self.root)
        self.entries = private_directory(self.root / "features")
        self.identities = private_directory(self.root / "identities")
        self.sources = private_directory(self.root / "sources")
        self.quarantined = 0
        # writes that were killed; none of another live run is a day old
        remove_partials(self.entries, time.time() - ONE_DAY)
        remove_partials(self.identities, time.time() - ONE_DAY)
        remove_partials(self.sources, time.time() - ONE_DAY)

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
        import torch

        payload = safetensors.torch.save({"features": features.contiguous()})
        record = {
            "inputs": inputs,
            "bytes": len(payload),
            "digest": digest(payload),
            "shape": list(features.shape),
            "dtype": str(features.dtype),
            "torch": str(torch.__version__),
            "written": time.time(),
        }
        if self._payload(key).is_dir() or self._record(key).is_dir():
            self._quarantine(key, "a directory lies in its place")
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
        return _unlink_all(self.root / "quarantine")

    def clear(self) -> None:
        """Remove every entry, half-written or whole, and forget what was read, by what source."""
        for folder in (self.entries, self.identities, self.sources):
            _unlink_all(folder)

    def _proved(self, key: str) -> tuple[str, Tensor | None]:
        import safetensors.torch

        record = _parse(self._record(key))
        if record is None:
            return "its record does not parse", None
        if canonical_digest(record["inputs"]) != key:
            return "its record is another entry's", None
        try:
            payload = self._payload(key).read_bytes()
        except OSError as problem:
            return f"its payload cannot be read ({problem.strerror})", None
        if len(payload) != record["bytes"]:
            return f"it has {len(payload)} bytes, its record says {record['bytes']}", None
        if digest(payload) != record["digest"]:
            return "its bytes do not have the recorded digest", None
        features = safetensors.torch.load(payload)["features"]
        if [list(features.shape), str(features.dtype)] != [record["shape"], record["dtype"]]:
            return f"it is not the recorded {record['dtype']} {record['shape']}", None
        return "", features

    def _quarantine(self, key: str, problem: str) -> None:
        self.quarantined += 1
        aside = private_directory(self.root / "quarantine")
        for path in (self._record(key), self._payload(key)):
            if path.exists():
                os.replace(path, aside / f"{uuid.uuid4().hex}-{path.name}")
        say(f"cache entry {key[:12]} set aside: {problem}; it will be computed again")

    def _payload(self, key: str) -> Path:
        return self.entries / f"{key}.safetensors"

    def _record(self, key: str) -> Path:
        return self.entries / f"{key}.json"


def default_cache_dir() -> Path:
    """Return the per-user cache directory."""
    import platformdirs

    return Path(platformdirs.user_cache_path("wsa")) / "cache"


def compiled_code_dir() -> Path:
    """Return where torch and Triton keep compiled code, unless the user told them otherwise."""
    import platformdirs

    return Path(platformdirs.user_cache_path("wsa")) / "compiled"


def keep_compiled_code() -> None:
    """Give torch and Triton a directory that only the user may enter, before they first compile.

    Their own defaults are a name in /tmp that anybody may make first, and what lies there is run.
    What the environment names already stays; where there can be no such directory, that is said.
    """
    for variable, name in COMPILERS.items():
        if os.environ.get(variable):
            continue
        try:
            os.environ[variable] = str(_guarded(compiled_code_dir() / name))
        except EnvironmentProblem as problem:
            say(f"compiled code is kept where torch and Triton will: {problem}")
            return


def _guarded(path: Path) -> Path:
    found = private_directory(path).stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EnvironmentProblem(f"{path} is open to others; chmod 700 it, or remove it")
    return path


def _unlink_all(folder: Path) -> int:
    files = list(folder.glob("*"))
    for path in files:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(files)


def _parse(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    sound = all(isinstance(record.get(name), kind) for name, kind in RECORD.items())
    return record if sound else None


def _refuse_strangers(root: Path) -> None:
    owner = root.stat().st_uid
    if owner != os.getuid():
        raise EnvironmentProblem(
            f"cache directory {root} belongs to user {owner}; use one of your own (--cache-dir)"
        )
