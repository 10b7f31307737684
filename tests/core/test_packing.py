from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from tests.conftest import MakeDataset
from tests.core.packed_stores import KEYS, adapter, write_adapters

from wsa.errors import WsaError
from wsa.population import packing
from wsa.population.files import FilePopulation
from wsa.population.manifest import DTYPES, StoredShard
from wsa.population.packed import damaged_parts
from wsa.population.packing import Packed, pack
from wsa.population.shard_file import write_shard
from wsa.population.source import open_population


def packed(source: Path, root: Path, dtype: str | None = None) -> Packed:
    return pack(open_population(str(source)), str(source), root, dtype)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsa.population.population.SHARD_ADAPTERS", 4)


def test_a_shard_is_one_safetensors_file_of_two_tensors(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 5)
    assert packed(source, tmp_path / "out").shards == 1
    (file,) = (tmp_path / "out" / "shards").iterdir()
    tensors, shard = load_file(file), open_population(str(source)).read(0, 5)
    assert tensors.keys() == {"flat", "scale"}
    assert torch.equal(tensors["flat"], shard.flat)
    assert torch.equal(tensors["scale"], shard.scale)


def test_the_manifest_says_what_lies_where(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 5)
    packed(source, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    layout = open_population(str(source)).layout
    assert told["groups"][0]["offsets"] == list(layout.offsets)
    assert told["groups"][0]["dtype"] == "fp16"
    assert told["source"] == str(source)
    assert told["labels"]["columns"]["category_label"] == "int64"
    assert len(told["modules"]) == len(KEYS)


@pytest.mark.usefixtures("small_shards")
def test_the_same_again_reads_nothing_and_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_adapters(tmp_path / "source", 11)
    first = packed(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(FilePopulation, "load", refuse)
    assert packed(source, tmp_path / "out") == Packed(11, first.shards, 0, first.bytes)
    assert contents(tmp_path / "out") == before


def refuse(*_: object) -> None:
    raise AssertionError("a weight was read")


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("stop", range(4))
def test_a_packing_that_stopped_anywhere_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    source = write_adapters(tmp_path / "source", 11)
    total = packed(source, tmp_path / "whole").shards
    with monkeypatch.context() as patch:
        patch.setattr(packing, "write_shard", stopping_after(stop))
        patch.setattr(packing.Packing, "_manifest", refuse)
        with pytest.raises((KeyboardInterrupt, AssertionError)):
            packed(source, tmp_path / "out")
    with pytest.raises(WsaError, match="never ended; run the same wsa pack again"):
        open_population(str(tmp_path / "out"))
    assert packed(source, tmp_path / "out").written == max(0, total - stop)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def stopping_after(count: int) -> Callable[[Path, torch.Tensor, torch.Tensor], StoredShard]:
    left = iter(range(count))

    def write(path: Path, flat: torch.Tensor, scale: torch.Tensor) -> StoredShard:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return write_shard(path, flat, scale)

    return write


SLOWLY = """
import sys, time
from pathlib import Path
from wsa.population import packing, population
from wsa.population.source import open_population
population.SHARD_ADAPTERS = 2
write = packing.write_shard
def slowly(*arguments):
    time.sleep(0.05)
    return write(*arguments)
packing.write_shard = slowly
source, root = sys.argv[1:]
print("begins", flush=True)
packing.pack(open_population(source), source, Path(root))
"""


def test_a_packing_that_is_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.population.population.SHARD_ADAPTERS", 2)
    source = write_adapters(tmp_path / "source", 24)
    packed(source, tmp_path / "whole")
    command = [sys.executable, "-c", SLOWLY, str(source), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        shards = tmp_path / "out" / "shards"
        while not shards.exists() or len(list(shards.glob("*.safetensors"))) < 2:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = packed(source, tmp_path / "out")
    assert 0 < done.written < done.shards
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.usefixtures("small_shards")
def test_a_source_that_grew_adds_the_new_shards_only(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 40)
    (source / "labels.csv").unlink()
    first = packed(source, tmp_path / "out")
    save_file(adapter(99), source / "b.safetensors")
    grown = packed(source, tmp_path / "out")
    assert (first.adapters, grown.adapters) == (40, 41)
    assert grown.written <= 2 < first.shards
    assert len(list((tmp_path / "out" / "shards").iterdir())) == grown.shards
    assert not damaged_parts(tmp_path / "out")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    source, other = (write_adapters(tmp_path / name, 3) for name in ("source", "other"))
    packed(source, tmp_path / "out")
    with pytest.raises(WsaError, match=r"source as stored, and not .*other as stored packed"):
        packed(other, tmp_path / "out")
    with pytest.raises(WsaError, match=r"source as stored, and not .*source as fp32 packed"):
        packed(source, tmp_path / "out", "fp32")
    with pytest.raises(WsaError, match="other holds something else, and not"):
        packed(source, other)
    with pytest.raises(WsaError, match="needs a folder to write to"):
        packed(source, other / "labels.csv")


def test_two_cannot_pack_into_one_folder(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 3)
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(WsaError, match="another wsa is packing into"),
    ):
        packed(source, tmp_path / "out")


@pytest.mark.parametrize(("dtype", "kept"), [("fp16", 1e-3), ("bf16", 8e-3), ("fp32", 0.0)])
def test_weights_are_stored_as_asked(tmp_path: Path, dtype: str, kept: float) -> None:
    source = write_adapters(tmp_path / "source", 3, dtype=torch.float32)
    packed(source, tmp_path / "out", dtype)
    found, exact = (open_population(str(tmp_path / name)) for name in ("out", "source"))
    stored, truth = found.read(0, 3).flat, exact.read(0, 3).flat
    assert stored.dtype == found.groups[0].dtype == DTYPES[dtype]
    assert ((stored.float() - truth).abs() <= kept * truth.abs()).all()


def test_a_weight_that_would_overflow_is_refused_with_its_place(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 3, dtype=torch.float32)
    large = adapter(1, dtype=torch.float32)
    large[f"{KEYS[3]}.up.weight"][5, 1] = 70000.0
    save_file(large, source / "a001.safetensors")
    layer = KEYS[3].removesuffix(".lora") + ".up"
    with pytest.raises(WsaError, match=rf"a001.*{layer}.* holds 70000, which fp16 cannot"):
        packed(source, tmp_path / "out", "fp16")
    assert packed(source, tmp_path / "wide", "bf16").written == 1


def test_an_unknown_type_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 3)
    with pytest.raises(WsaError, match="no dtype called 'fp8'; known: fp16, bf16, fp32"):
        packed(source, tmp_path / "out", "fp8")


def test_a_table_is_packed_with_names_for_its_rows(
    tmp_path: Path, make_dataset: MakeDataset
) -> None:
    source = make_dataset(n=7)
    packed(source, tmp_path / "out")
    found, table = (open_population(str(path)) for path in (tmp_path / "out", source))
    assert found.read(0, 7).digests == table.read(0, 7).digests
    assert found.labels.drop_columns(["adapter"]).equals(table.labels)
    assert found.name(3) == "3"


def test_a_damaged_store_is_told_part_by_part_and_mended_by_packing_again(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 5)
    write_adapters(source, 4, rank=4, prefix="b")
    root = tmp_path / "out"
    packed(source, root)
    assert damaged_parts(root) == []
    before = contents(root)
    one, _ = sorted((root / "shards").iterdir())
    payload = bytearray(one.read_bytes())
    payload[-5] ^= 1
    one.write_bytes(payload)
    (root / "labels.parquet").write_bytes(b"no labels")
    assert [each.name for each in damaged_parts(root)] == ["labels.parquet", f"shards/{one.name}"]
    one.unlink()
    assert packed(source, root).written == 1
    assert contents(root) == before


def test_a_shard_that_was_cut_is_told_and_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, root = write_adapters(tmp_path / "source", 5), tmp_path / "out"
    packed(source, root)
    before = contents(root)
    (shard,) = (root / "shards").iterdir()
    shard.write_bytes(shard.read_bytes()[:-7])
    assert packed(source, root).written == 1
    assert f"{shard} is damaged: it is written again" in capsys.readouterr().err
    assert contents(root) == before
