"""The one atomic write, and files that know when they were damaged."""

from __future__ import annotations

import errno
import json
import os
import tempfile
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
    partial = None
    try:
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
        os.close(handle)
        partial = Path(name)
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as problem:
        raise _refusal(path, problem) from problem
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


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
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise EnvironmentProblem(f"cannot make directory {path}: {problem.strerror}") from problem
    return path


def to_json(value: Any) -> str:
    """Write JSON as wsa stores it: sorted keys, no NaN literals, one trailing newline."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


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
