from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.core.packed_stores import write_adapters

from wsa import cli

Wsa = Callable[..., int]


@pytest.fixture
def wsa(monkeypatch: pytest.MonkeyPatch) -> Wsa:
    """Call the command line in this process and return its exit code."""

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["wsa", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    return call


def test_a_packed_folder_is_told_verified_and_read(
    wsa: Wsa, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, store = write_adapters(tmp_path / "source", 5), tmp_path / "store"
    assert wsa("pack", source, store, "--dtype", "fp32", "--limit", 4, "--skip-bad") == 0
    assert "4 adapters in 1 shards" in capsys.readouterr().out
    assert wsa("pack", "--verify", store) == 0
    assert "is as it was packed" in capsys.readouterr().out
    assert (
        wsa("extract", "--dataset", store, "--plugins", "stats", "--out", tmp_path / "x.npz") == 0
    )


def test_verify_names_what_is_damaged_and_ends_in_one(
    wsa: Wsa, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, store = write_adapters(tmp_path / "source", 3), tmp_path / "store"
    assert wsa("pack", source, store) == 0
    (shard,) = (store / "shards").iterdir()
    shard.write_bytes(b"nothing of use")
    assert wsa("pack", "--verify", store) == 1
    assert f"shards/{shard.name}: " in capsys.readouterr().out


def test_shards_that_were_there_are_not_said_to_be_sound(
    wsa: Wsa, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, store = write_adapters(tmp_path / "source", 3), tmp_path / "store"
    assert wsa("pack", source, store) == 0
    assert "were there" not in capsys.readouterr().out
    assert wsa("pack", source, store) == 0
    told = f"0 shards written, 1 were there and were not read: wsa pack --verify {store} proves"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pack", "source"], "wsa pack needs SOURCE and DEST"),
        (["pack", "--verify", "one", "two"], "--verify needs one folder; got one and two"),
        (["pack", "--verify", "nothing"], "nothing/manifest.json is no manifest of a packed store"),
        (["pack", "nothing", "out"], "no data set 'nothing'"),
    ],
)
def test_a_mistake_is_one_line(
    wsa: Wsa, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert wsa(*arguments) == 2
    found = capsys.readouterr().err
    assert told in found
    assert len(found.splitlines()) == 1
