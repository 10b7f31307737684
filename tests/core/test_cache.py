from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wsa.cache import RECORD, Cache, compiled_code_dir, keep_compiled_code
from wsa.storage import canonical_digest

INPUTS = {"representation": "stats"}
KEY = canonical_digest(INPUTS)
FEATURES = torch.arange(12.0).reshape(3, 4)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    found = Cache(tmp_path / "cache")
    found.commit(KEY, FEATURES, INPUTS)
    return found


def payload(cache: Cache) -> Path:
    return cache.entries / f"{KEY}.safetensors"


def record(cache: Cache) -> Path:
    return cache.entries / f"{KEY}.json"


def test_an_entry_comes_back_as_committed(cache: Cache) -> None:
    found = cache.read(KEY)
    assert found is not None
    assert torch.equal(found, FEATURES)
    assert cache.quarantined == 0


def test_without_its_record_an_entry_does_not_exist(cache: Cache) -> None:
    record(cache).unlink()
    assert not cache.has(KEY)
    assert cache.read(KEY) is None


def test_every_flipped_bit_is_found(cache: Cache) -> None:
    whole, note = payload(cache).read_bytes(), record(cache).read_bytes()
    for place in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        payload(cache).write_bytes(broken)
        record(cache).write_bytes(note)
        assert cache.read(KEY) is None
    assert cache.quarantined == len(range(0, len(whole), 7))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir(), (path / "file").touch()),
    ],
    ids=["truncated", "empty", "extended", "gone", "directory"],
)
@pytest.mark.parametrize("file", [payload, record], ids=["payload", "record"])
def test_a_damaged_entry_is_set_aside_and_can_be_committed_again(
    cache: Cache, damage: Callable[[Path], object], file: Callable[[Cache], Path]
) -> None:
    damage(file(cache))
    assert cache.read(KEY) is None
    assert not cache.has(KEY)
    cache.commit(KEY, FEATURES, INPUTS)
    found = cache.read(KEY)
    assert found is not None
    assert torch.equal(found, FEATURES)


def test_swapped_payloads_are_found(cache: Cache) -> None:
    inputs = {"representation": "spectral"}
    other = canonical_digest(inputs)
    cache.commit(other, FEATURES + 1, inputs)
    payload(cache).write_bytes((cache.entries / f"{other}.safetensors").read_bytes())
    assert cache.read(KEY) is None
    assert cache.quarantined == 1


def test_an_entry_under_another_entrys_name_is_found(cache: Cache) -> None:
    other = "1" * 64
    for path in (payload(cache), record(cache)):
        path.rename(path.with_name(path.name.replace(KEY, other)))
    assert cache.read(other) is None
    assert cache.quarantined == 1


def test_a_record_whose_fields_have_other_types_does_not_parse(cache: Cache) -> None:
    for name in RECORD:
        cache.commit(KEY, FEATURES, INPUTS)
        content = json.loads(record(cache).read_text())
        record(cache).write_text(json.dumps(content | {name: None}))
        assert [key for key, _ in cache.records()] == []


def test_what_was_set_aside_can_be_removed(cache: Cache) -> None:
    payload(cache).write_bytes(b"")
    cache.read(KEY)
    assert cache.empty_quarantine() == 2
    assert not list((cache.root / "quarantine").iterdir())


def test_the_cache_directory_is_private(cache: Cache) -> None:
    assert cache.root.stat().st_mode & 0o777 == 0o700


VARIABLES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name no place for compiled code."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # put back afterwards, whatever the code sets


def test_compiled_code_is_kept_where_only_the_user_may_enter(unnamed: None) -> None:
    keep_compiled_code()
    places = [Path(os.environ[name]) for name in VARIABLES]
    assert places == [compiled_code_dir() / name for name in ("inductor", "triton")]
    assert all(place.stat().st_mode & 0o777 == 0o700 for place in places)


def test_a_place_that_the_user_named_is_left_as_it_is(
    unnamed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    keep_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"
    assert os.environ["TRITON_CACHE_DIR"] == str(compiled_code_dir() / "triton")


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o777), lambda path: path.rmdir()])
def test_a_place_open_to_others_or_none_at_all_is_told_and_not_used(
    unnamed: None, spoil: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    place = compiled_code_dir() / "inductor"
    place.mkdir(parents=True, mode=0o700)
    spoil(place)
    if not place.exists():
        place.touch()
    keep_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == ""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("compiled code is kept where torch and Triton will: ")
    assert str(place) in line
