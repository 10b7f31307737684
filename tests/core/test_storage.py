from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from wsa import storage
from wsa.errors import EnvironmentProblem


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    storage.write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EnvironmentProblem, match=f"cannot write {path}: No space left.*bytes free"):
        storage.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_seal_is_broken_by_any_changed_bit() -> None:
    sealed = storage.seal(b"some state")
    assert storage.unseal(sealed) == b"some state"
    for place in range(len(sealed)):
        broken = bytearray(sealed)
        broken[place] ^= 1
        assert storage.unseal(bytes(broken)) is None
    assert storage.unseal(sealed[:-1]) is None
    assert storage.unseal(b"") is None


def test_json_is_written_without_nan_literals() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.to_json({"value": float("nan")})


def test_a_private_directory_is_its_owners_alone(tmp_path: Path) -> None:
    made = storage.private_directory(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700


def test_only_stale_partials_are_removed(tmp_path: Path) -> None:
    stale, live = tmp_path / ".partial-stale", tmp_path / ".partial-live"
    stale.touch()
    live.touch()
    os.utime(stale, (1, 1))
    assert storage.remove_partials(tmp_path, before=1000) == 1
    assert live.exists()
    assert not stale.exists()
