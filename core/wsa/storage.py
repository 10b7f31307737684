"""The one atomic write, and files that know when they were damaged."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from wsa.errors import EnvironmentProblem

DIGEST_BYTES = 16
PARTIAL = ".partial-"


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half."""
    with replaced(path) as partial:
        partial.write_bytes(payload)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Lend a file beside `path` that takes its place when the block ends well.

    Raises EnvironmentProblem, naming the path and the free bytes, where the disk refuses.
    """
    partial = path.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
    try:
        with refusals(path):
            partial.touch(exist_ok=False)
            yield partial
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into the one line a user gets, EnvironmentProblem."""
    try:
        yield
    except OSError as problem:
        raise _refusal(path, problem) from problem


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refusal(path: Path, problem: OSError) -> EnvironmentProblem:
    reason = problem.strerror or str(problem)
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = f"{reason}, {_free_bytes(path)} bytes free; make room and run again"
    return EnvironmentProblem(f"cannot write {path}: {reason}")


def _free_bytes(path: Path) -> int:
    status = os.statvfs(path.parent)
    return status.f_bavail * status.f_frsize


def private_directory(path: Path) -> Path:
    """Make a directory only its owner may enter, parents included, and return it."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    with refusals(path):
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a directory")
    return path


def to_json(value: Any) -> str:
    """Write JSON as wsa stores it: sorted keys, no NaN literals, one trailing newline."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def canonical_digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON: the form every key of wsa has."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    write_bytes(path, to_json(value).encode())


def digest(payload: bytes | memoryview) -> str:
    """Return the xxh3-128 of bytes as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(payload)


def seal(payload: bytes) -> bytes:
    """Put a digest before bytes, so that one file carries its own proof."""
    return xxhash.xxh3_128_digest(payload) + payload


def unseal(sealed: bytes) -> bytes | None:
    """Return the bytes under a seal, or None where they are not what was sealed."""
    payload = sealed[DIGEST_BYTES:]
    return payload if sealed == seal(payload) else None


def remove_partials(directory: Path, before: float) -> int:
    """Remove what writes that were killed before a point in time left behind; count them."""
    stale = [path for path in directory.glob(f"{PARTIAL}*") if path.stat().st_mtime < before]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
