from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.cli.inside import wsa
from tests.cli.test_command_line import SMALL, Wsa, one_line
from tests.formats.writers import lora, write_peft

from wsa.errors import WsaError
from wsa.formats import header
from wsa.formats.refusal import LONGEST_NAME, quoted
from wsa.population.files import FilePopulation
from wsa.population.reading import Reading
from wsa.population.source import open_population

__all__ = ["wsa"]
SKIPPING = Reading(skip_bad=True)


def refused(folder: Path, reading: Reading = SKIPPING) -> dict[str, str]:
    """Return the reasons by name; the good file of every folder here is the only one taken."""
    population = open_population(str(folder), reading)
    assert isinstance(population, FilePopulation)
    assert [Path(member.name).name for member in population.members] == ["good.safetensors"]
    return {each.name: each.reason for each in population.refused}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_peft(tmp_path / "population" / "good.safetensors")
    return tmp_path / "population"


def test_one_base_model_among_others_is_refused_with_both_guesses(tmp_path: Path) -> None:
    for number in range(3):
        write_peft(tmp_path / f"{number}.safetensors", seed=number)
    write_peft(tmp_path / "other.safetensors", out=5)
    population = open_population(str(tmp_path), SKIPPING)
    (other,) = population.refused
    assert population.count == 3
    assert other.name == "other.safetensors"
    assert "('blocks.0.q_proj' is 5 x 3), unlike 3 of 4 adapters: base model" in other.reason
    with pytest.raises(WsaError, match="1 of 4 files are refused"):
        open_population(str(tmp_path))


def test_a_truncated_file_among_good_ones_is_named(folder: Path) -> None:
    content = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[:-1])
    assert "it is cut, " in refused(folder)["cut.safetensors"]


def test_a_folder_that_cannot_be_entered_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "closed").mkdir()
    entered = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return entered(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert refused(folder) == {"closed": "this folder cannot be read: Permission denied"}
    with pytest.raises(WsaError, match="holds no adapter that can be read; 1 are refused"):
        open_population(str(folder / "closed"))


def test_what_would_be_waited_for_or_never_ends_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe.safetensors")
    os.mkfifo(folder / "pipe2.bin")
    (folder / "loop.safetensors").symlink_to("loop.safetensors")
    (folder / "gone.safetensors").symlink_to("nowhere")
    reading = Reading(skip_bad=True, allow_pickle=True)
    assert refused(folder, reading) == {
        "pipe.safetensors": "it is no regular file",
        "pipe2.bin": "it is no regular file",
        "loop.safetensors": "it cannot be read: Too many levels of symbolic links",
        "gone.safetensors": "it cannot be read: No such file or directory",
    }


def test_folders_that_link_to_each_other_are_entered_once(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "above").symlink_to(folder)
    (folder / "itself").symlink_to(".")
    (folder / "endless").symlink_to("endless")
    assert refused(folder) == {}


NAMES = {
    "spaces": b" a b .safetensors",
    "newlines": b"a\nb\r\n.safetensors",
    "255 characters": b"x" * 243 + b".safetensors",
    "no UTF-8": b"\xff\xfe.safetensors",
    "markup": b"[red]<b>a.safetensors",
    "dashes": b"--skip-bad.safetensors",
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_may_be_any_that_a_file_system_takes(case: str, tmp_path: Path, wsa: Wsa) -> None:
    path = tmp_path / "population" / os.fsdecode(NAMES[case])
    write_peft(path)
    population = open_population(str(tmp_path / "population"))
    assert population.read(0, 1).valid.all()
    assert population.identifiers.to_pylist()[0].isprintable() or "newlines" in case
    assert population.name(0).isprintable()
    for json_flag in ([], ["--json"]):
        done = wsa("inspect", *json_flag, path.parent)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "blocks" not in done.stderr


def test_an_empty_folder_is_told_as_one_line(wsa: Wsa, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no population: needed adapter files" in one_line(wsa("run", "--dataset", "empty"), 2)
    assert "no adapter file below empty" in one_line(wsa("inspect", "empty"), 2)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "has changed since"),
    "rewritten": (lambda path: os.utime(path, (1, 1)), "has changed since the run began"),
    "gone": (Path.unlink, "can no longer be read: No such file or directory"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_file_that_changes_between_header_and_weights_is_named(case: str, folder: Path) -> None:
    change, reason = CHANGES[case]
    population = open_population(str(folder))
    change(folder / "good.safetensors")
    with pytest.raises(WsaError, match=f"'good.safetensors' {reason}"):
        population.read(0, 1)


def test_a_file_cut_while_it_is_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = open_population(str(folder))
    monkeypatch.setattr("wsa.population.files._refuse_changed", lambda members: None)
    os.truncate(folder / "good.safetensors", 100)
    with pytest.raises(WsaError, match=r"good.safetensors' has become shorter than its header"):
        population.read(0, 1)


@pytest.mark.parametrize("cut", ["removed", "truncated"])
def test_a_file_lost_between_header_and_alpha_is_refused(
    cut: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, described = folder / "lost.safetensors", header.HeaderReader.read
    stem, (up, down) = "lora_unet_conv_in", lora()
    halves = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
    save_file(halves | {f"{stem}.alpha": torch.tensor(1.0)}, path)

    def read(reader: header.HeaderReader, at: Path) -> header.Header:
        found = described(reader, at)
        if at == path:
            path.unlink() if cut == "removed" else os.truncate(path, found.data_start)
        return found

    monkeypatch.setattr(header.HeaderReader, "read", read)
    reason = {"removed": "it cannot be read: No such file", "truncated": "it was cut while"}
    assert refused(folder)["lost.safetensors"].startswith(reason[cut])


def labelled(folder: Path, count: int) -> None:
    rows = ["name,category_label"]
    for number in range(count):
        write_peft(folder / f"{number}.safetensors", seed=10 * number)
        rows.append(f"{number},{number % 2}")
    (folder / "labels.csv").write_text("\n".join(rows))


def test_a_run_stops_before_computing_and_goes_on_without_the_refused(
    wsa: Wsa, tmp_path: Path
) -> None:
    folder = tmp_path / "population"
    folder.mkdir()
    labelled(folder, 40)
    (folder / "39.safetensors").write_bytes(b"\0" * 100)
    run = [
        "run",
        "--dataset",
        folder,
        *SMALL,
        "--view",
        "delta",
        "--no-compile",
        "--output-dir",
        "out",
    ]
    stopped = wsa(*run)
    assert stopped.returncode == 2
    assert re.search(r"refused '?39.safetensors'?: its header claims 0 bytes", stopped.stderr)
    assert not (tmp_path / "out").exists()
    assert wsa(*run, "--dry-run").returncode == 2
    assert wsa(*run, "--skip-bad", "--dry-run").returncode == 0
    done = wsa(*run, "--skip-bad")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["population"]["adapters"] == 39
    assert "claims 0 bytes" in told["population"]["refused"]["39.safetensors"]


def test_a_long_name_keeps_both_of_its_ends() -> None:
    told = quoted("d" * 150 + "/\n" + "e" * 150 + "/one.safetensors")
    assert len(told) < LONGEST_NAME + 5
    assert told.startswith("'ddd")
    assert told.endswith("e/one.safetensors'")
