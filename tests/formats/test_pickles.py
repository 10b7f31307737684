from __future__ import annotations

import builtins
import io
import os
import pickle
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.formats.writers import assert_same, read, write_peft

from wsa.population.files import FilePopulation
from wsa.population.reading import Reading
from wsa.population.source import open_population

# torch warns of pickles newer than its own
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")
ALLOWED = Reading(skip_bad=True, allow_pickle=True)
KNOWN = Reading(skip_bad=True)


class Call:
    """An object whose pickle makes a call when it is read."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


def calls(canary: Path) -> list[Call]:
    """Return what would leave a file behind if it were called."""
    name, code = str(canary), f"open({str(canary)!r}, 'w').close()"
    script = canary.with_name("script.py")
    script.write_text(code)
    return [
        Call(os.system, f"touch {name}"),
        Call(os.mkdir, name),
        Call(os.popen, f"touch {name}"),
        Call(subprocess.check_output, ["touch", name]),
        Call(builtins.exec, code),
        Call(builtins.eval, f"open({name!r}, 'w')"),
        Call(builtins.open, name, "w"),
        Call(io.FileIO, name, "w"),
        Call(shutil.copy, str(script), name),
        Call(Path.touch, canary),
        Call(runpy.run_path, str(script)),
    ]


def stores(payload: Any) -> list[bytes]:
    """Return files in which a pickle may come: bare, of any protocol, or as torch saves them."""
    files = [pickle.dumps(payload, protocol) for protocol in (0, 2, 4)]
    for new in (True, False):
        file = io.BytesIO()
        torch.save(payload, file, _use_new_zipfile_serialization=new)
        files.append(file.getvalue())
    return files


def bombs(canary: Path) -> list[bytes]:
    found = []
    for number, call in enumerate(calls(canary)):
        weight = {"a.weight": torch.ones(2, 2)}
        payload: Any = [call, {"a.weight": call}, weight | {"b": call}][number % 3]
        found += stores(payload)
    return found


@pytest.mark.parametrize("reading", [KNOWN, ALLOWED], ids=["refused", "--allow-pickle"])
def test_no_pickle_bomb_is_executed(reading: Reading, tmp_path: Path) -> None:
    canary, folder = tmp_path / "canary", tmp_path / "population"
    write_peft(folder / "good.safetensors")
    contents = bombs(canary)
    assert len(contents) >= 50
    for number, content in enumerate(contents):
        (folder / f"{number}.{'bin' if number % 2 else 'pt'}").write_bytes(content)
    population = open_population(str(folder), reading)
    assert not canary.exists()
    assert population.count == 1
    assert len(population.refused) == len(contents)


def test_the_bombs_are_alive(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = bombs(canary)[0]
    pickle.loads(content)
    assert canary.exists()


def test_a_pickle_is_refused_with_a_way_to_convert_it(tmp_path: Path) -> None:
    write_peft(tmp_path / "good.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "one.bin")
    (refused,) = open_population(str(tmp_path), KNOWN).refused
    assert refused.name == "one.bin"
    assert "save it with safetensors.torch.save_file), or run with --allow-pickle" in refused.reason


@pytest.mark.parametrize("wrapper", [None, "state_dict", "module"])
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
def test_a_good_pickle_is_its_safetensors_twin(
    suffix: str, wrapper: str | None, tmp_path: Path
) -> None:
    twin = write_peft(tmp_path / "twin" / "one.safetensors")
    tensors = load_file(twin)
    pickled = tmp_path / f"one{suffix}"
    torch.save({wrapper: tensors} if wrapper else tensors, pickled)
    assert_same(read(pickled, Reading(allow_pickle=True)), read(twin))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_what_a_trainer_keeps_beside_its_weights_is_told_and_left(
    wrapper: str, tmp_path: Path
) -> None:
    twin = write_peft(tmp_path / "twin" / "one.safetensors")
    kept = {wrapper: load_file(twin), "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}}
    torch.save(kept, tmp_path / "one.ckpt")
    found = read(tmp_path / "one.ckpt", Reading(allow_pickle=True))
    assert_same(found, read(twin))
    notes = open_population(str(tmp_path / "one.ckpt"), Reading(allow_pickle=True)).notes
    assert "left out of pickles, beside their weights: 2 ('epoch', 'optimizer')" in notes


@pytest.mark.parametrize(
    "beside",
    [
        {"epoch": 3},
        {"state_dict": {"a.weight": torch.ones(2, 2)}, "model": {"a.weight": torch.ones(2, 2)}},
    ],
    ids=["no weights under a name", "two state dicts"],
)
def test_a_pickle_that_keeps_more_than_one_state_dict_is_refused_by_what_it_holds(
    beside: dict[str, Any], tmp_path: Path
) -> None:
    write_peft(tmp_path / "good.safetensors")
    torch.save(beside, tmp_path / "one.pt")
    (refused,) = open_population(str(tmp_path), ALLOWED).refused
    assert f"it holds {len(beside)} ({next(iter(sorted(beside)))!r}" in refused.reason


def test_the_same_stem_as_safetensors_is_the_same_adapter(tmp_path: Path) -> None:
    write_peft(tmp_path / "one.safetensors")
    (tmp_path / "one.bin").write_bytes(b"never read")
    population = open_population(str(tmp_path))
    assert isinstance(population, FilePopulation)
    assert [member.name for member in population.members] == ["one.safetensors"]


STRANGE = {
    "sparse": torch.eye(3).to_sparse(),
    "without data": torch.empty(2, 2, device="meta"),
    "complex": torch.ones(2, 2, dtype=torch.complex128),
    "a number": 3,
    "bytes": b"x",
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_pickle_of_anything_but_weights_is_refused(case: str, tmp_path: Path) -> None:
    write_peft(tmp_path / "good.safetensors")
    torch.save({"a.weight": STRANGE[case]}, tmp_path / "one.pt")
    assert len(open_population(str(tmp_path), ALLOWED).refused) == 1


def test_what_torch_says_against_a_pickle_is_told_without_its_advice(tmp_path: Path) -> None:
    write_peft(tmp_path / "good.safetensors")
    torch.save({"a": Call(os.system, "true")}, tmp_path / "one.pt")
    (refused,) = open_population(str(tmp_path), ALLOWED).refused
    assert "unsupported GLOBAL posix.system" in refused.reason
    assert "False" not in refused.reason


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\x02.", b"garbage"])
def test_a_damaged_pickle_is_refused(content: bytes, tmp_path: Path) -> None:
    write_peft(tmp_path / "good.safetensors")
    (tmp_path / "one.pt").write_bytes(content)
    (refused,) = open_population(str(tmp_path), ALLOWED).refused
    assert refused.reason.startswith("torch.load(weights_only=True) refuses it: ")
