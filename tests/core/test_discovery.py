from __future__ import annotations

import os
from pathlib import Path

import pytest

from wsa.population.discovery import find_files


def found(root: Path) -> list[str]:
    return [each.name for each in find_files(root)[0]]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_files_of_weights_are_found_below_a_folder_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b.safetensors", "a/c.safetensors", "a/c.json", "notes.txt", "z.bin", "y.pt")
    assert found(tmp_path) == ["a/c.safetensors", "b.safetensors", "y.pt", "z.bin"]


def test_hidden_files_and_what_trainers_leave_are_no_adapters(tmp_path: Path) -> None:
    touch(tmp_path, ".x.safetensors", ".git/x.safetensors", "optimizer.pt", "rng_state_0.pth")
    assert found(tmp_path) == []


def test_a_pickle_beside_its_safe_twin_is_the_same_adapter(tmp_path: Path) -> None:
    touch(tmp_path, "adapter_model.bin", "adapter_model.safetensors", "other.bin")
    assert found(tmp_path) == ["adapter_model.safetensors", "other.bin"]


def test_a_loop_of_links_is_entered_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.safetensors")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert found(tmp_path) == ["a/x.safetensors"]


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/x.safetensors", "b/y.safetensors")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files, refused = find_files(tmp_path)
    assert [each.name for each in files] == ["a/x.safetensors"]
    assert [(each.name, each.reason) for each in refused] == [
        ("b", "this folder cannot be read: Permission denied")
    ]


def test_a_name_that_is_no_text_is_told_not_lost(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.safetensors", "wb"):
        pass
    assert found(tmp_path) == ["\\xff.safetensors"]


def test_one_file_is_a_population_of_one(tmp_path: Path) -> None:
    touch(tmp_path, "a.safetensors")
    assert found(tmp_path / "a.safetensors") == ["a.safetensors"]


def test_a_suffix_may_be_written_in_capitals(tmp_path: Path) -> None:
    touch(tmp_path, "a.SafeTensors", "b.PT")
    assert found(tmp_path) == ["a.SafeTensors", "b.PT"]
