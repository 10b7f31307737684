from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import MakeDataset
from tests.core.packed_stores import KEYS, adapter, write_adapters

from wsa.cache import Memory
from wsa.errors import WsaError
from wsa.extraction import Extraction, Request
from wsa.population.assembly import RefusedFiles
from wsa.population.identity import Identity
from wsa.population.packed import PackedPopulation, damaged_parts
from wsa.population.packing import pack
from wsa.population.population import Population
from wsa.population.reading import Reading
from wsa.population.source import open_population
from wsa.registry import installed, load

Manifest = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Pack adapters of two ranks and types: two groups, a shard each."""
    source = write_adapters(tmp_path / "source", 5)
    write_adapters(source, 4, rank=4, dtype=torch.float32, prefix="b")
    pack(open_population(str(source)), str(source), tmp_path / "store")
    return tmp_path / "store"


def keys(population: Population) -> list[str]:
    (plugin,) = [plugin for plugin in installed() if plugin.name == "stats"]
    request = Request("delta", load(plugin)[0])
    extraction = Extraction(population, [request], Memory(), torch.device("cpu"))
    shards = population.shards(population.ranges())
    return [extraction.key(request, shard.span, Identity.of(shard)) for shard in shards]


def test_a_store_has_the_adapters_labels_and_cache_keys_of_its_source(store: Path) -> None:
    found, source = (open_population(str(path)) for path in (store, store.parent / "source"))
    assert isinstance(found, PackedPopulation)
    assert found.catalogue == source.catalogue
    assert found.groups == source.groups
    assert found.ranges() == source.ranges() == [(0, 5), (5, 9)]
    assert found.labels.equals(source.labels)
    assert [found.name(row) for row in range(9)] == [source.name(row) for row in range(9)]
    assert keys(found) == keys(source)


def test_a_store_of_a_table_has_its_cache_keys(tmp_path: Path, make_dataset: MakeDataset) -> None:
    table = open_population(str(make_dataset(n=6)))
    pack(table, "population", tmp_path / "store")
    assert keys(open_population(str(tmp_path / "store"))) == keys(table)


def test_labels_of_a_store_are_those_it_was_packed_with(store: Path) -> None:
    with pytest.raises(WsaError, match=r"--label-from reads .* is a packed store with label col"):
        open_population(str(store), Reading(label_from="folder"))


def test_weights_that_are_not_finite_stay_so(store: Path) -> None:
    source = store.parent / "source"
    bad = adapter(2)
    bad[f"{KEYS[0]}.up.weight"][3, 1] = torch.inf
    save_file(bad, source / "a002.safetensors")
    with pytest.raises(RefusedFiles, match="1 of 9 files are refused"):
        pack(open_population(str(source)), str(source), store)
    with pytest.raises(RefusedFiles):  # and again: what was refused is not taken for done
        pack(open_population(str(source)), str(source), store)
    pack(open_population(str(source)), str(source), store, skip_bad=True)
    found, truth = (open_population(str(path)).read(0, 5) for path in (store, source))
    assert found.valid.tolist() == [True, True, False, True, True]
    assert found.digests == truth.digests
    assert torch.equal(found.flat, truth.flat)


def test_dense_matrices_have_no_scale(tmp_path: Path) -> None:
    for row in range(3):
        network = {f"layers.{i}.weight": torch.randn(4, 6) for i in range(2)}
        save_file(network, tmp_path / f"{row}.safetensors")
    pack(open_population(str(tmp_path)), "networks", tmp_path / "store")
    (file,) = (tmp_path / "store" / "shards").iterdir()
    assert load_file(file).keys() == {"flat"}
    found = open_population(str(tmp_path / "store")).read(0, 3)
    assert found.scale.shape == (3, 0)
    file.rename(tmp_path / file.name)


def test_the_first_adapters_alone_are_read_from_a_shard(store: Path) -> None:
    some, every = open_population(str(store), Reading(limit=7)), open_population(str(store))
    assert some.ranges() == [(0, 5), (5, 7)]
    assert len(some.labels) == some.count == 7
    assert some.read(5, 7).digests == every.read(5, 9).digests[:2]
    assert some.head(3).ranges() == [(0, 3)]


def test_a_packed_store_may_be_packed_again(store: Path) -> None:
    again = store.parent / "again"
    pack(open_population(str(store)), str(store), again, "fp32")
    found, first = open_population(str(again)), open_population(str(store))
    assert torch.equal(found.read(0, 5).flat, first.read(0, 5).flat.float())
    assert found.labels.equals(first.labels)


def test_the_state_of_a_shard_changes_with_its_file(store: Path) -> None:
    population = open_population(str(store))
    before = population.state(0, 5)
    assert before == open_population(str(store)).state(0, 5) != population.state(5, 9)
    (store / "shards" / population.manifest.shards[0].file).touch()  # type: ignore[attr-defined]
    assert population.state(0, 5) != before


def damage(path: Path, at: int) -> None:
    payload = bytearray(path.read_bytes())
    payload[at] ^= 1
    path.write_bytes(payload)


@pytest.mark.parametrize(
    "place", ["weights", "scale", "header", "length", "cut", "longer", "other"]
)
def test_a_damaged_shard_is_named_and_never_read(store: Path, place: str) -> None:
    population = open_population(str(store))
    one, other = (store / "shards" / each.file for each in population.manifest.shards)  # type: ignore[attr-defined]
    whole = one.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    if place in ("cut", "longer", "other"):
        kept = {"cut": whole[:-1], "longer": whole + b"\0", "other": other.read_bytes()}
        one.write_bytes(kept[place])
    else:
        damage(one, {"weights": start + 9, "scale": -1, "header": 30, "length": 1}[place])
    with pytest.raises(WsaError, match=rf"{one.name} is damaged: .*; remove that file and pack"):
        open_population(str(store)).read(0, 5)
    assert [each.name for each in damaged_parts(store)] == [f"shards/{one.name}"]


def test_a_missing_or_cut_shard_is_found_before_anything_is_computed(store: Path) -> None:
    one, _ = sorted((store / "shards").iterdir())
    one.write_bytes(one.read_bytes()[:-1])
    with pytest.raises(WsaError, match=rf"{one.name} is damaged: it has \d+ bytes, not the record"):
        open_population(str(store))
    one.unlink()
    with pytest.raises(WsaError, match=rf"{one.name} cannot be read: No such file"):
        open_population(str(store))


def test_damaged_and_missing_labels_are_told(store: Path) -> None:
    damage(store / "labels.parquet", 40)
    with pytest.raises(WsaError, match=r"labels.parquet is damaged"):
        open_population(str(store))
    (store / "labels.parquet").unlink()
    with pytest.raises(WsaError, match=r"labels.parquet cannot be read"):
        open_population(str(store))


def shard(found: Manifest) -> list[Any]:
    entry: list[Any] = found["groups"][0]["shards"][0]
    return entry


HOSTILE: dict[str, Callable[[Manifest], object]] = {
    "another format": lambda m: m.update(format="wsa packed 9"),
    "a path outside": lambda m: shard(m).__setitem__(0, "../../etc/passwd"),
    "an absolute path": lambda m: shard(m).__setitem__(0, "/" + "0" * 32 + ".safetensors"),
    "a shard twice": lambda m: m["groups"][0]["shards"].append(shard(m)),
    "no shards": lambda m: m["groups"][0].update(shards=[]),
    "no groups": lambda m: m.update(groups=[]),
    "groups of numbers": lambda m: m.update(groups=[1]),
    "no keys": lambda m: m.update(keys=[]),
    "fewer keys": lambda m: m["keys"].pop(),
    "keys of lists": lambda m: m.update(keys=[["a"]]),
    "keys in disorder": lambda m: m["keys"].reverse(),
    "half a pair": lambda m: m["keys"].__setitem__(0, "stranger.lora.up.weight"),
    "a name of another": lambda m: m["layers"].__setitem__(0, "stranger"),
    "other pairs": lambda m: m["pairs"].reverse(),
    "another size": lambda m: m["groups"][0].update(size=16),
    "other offsets": lambda m: m["groups"][0]["offsets"].reverse(),
    "shapes that do not pair": lambda m: m["groups"][0]["shapes"].__setitem__(0, [3, 24]),
    "negative shapes": lambda m: m["groups"][0]["shapes"].__setitem__(0, [-2, 24]),
    "shapes of truth": lambda m: m["groups"][0]["shapes"].__setitem__(0, [True, 24]),
    "immense shapes": lambda m: m["groups"][0]["shapes"].__setitem__(0, [2, 1 << 70]),
    "an unknown type": lambda m: m["groups"][0].update(dtype="int4"),
    "no rows": lambda m: shard(m).__setitem__(1, 0),
    "rows of text": lambda m: shard(m).__setitem__(1, "5"),
    "labels of nothing": lambda m: m.update(labels=None),
    "notes of numbers": lambda m: m.update(notes=[1]),
    "no source": lambda m: m.pop("source"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_manifest_that_lies_is_refused_in_one_line(
    store: Path, change: Callable[[Manifest], object]
) -> None:
    told = json.loads((store / "manifest.json").read_text())
    change(told)
    (store / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(
        WsaError, match=r"manifest.json is no manifest of a packed store: "
    ) as found:
        open_population(str(store))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", "[" * 100_000, '{"format": NaN}', "1e999"])
def test_a_manifest_that_is_no_json_is_refused_in_one_line(store: Path, text: str) -> None:
    (store / "manifest.json").write_text(text)
    with pytest.raises(WsaError, match="is no manifest of a packed store"):
        open_population(str(store))


def test_more_rows_than_a_shard_has_are_refused_before_memory_is_taken(store: Path) -> None:
    told = json.loads((store / "manifest.json").read_text())
    shard(told)[1] = 1 << 39
    (store / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(WsaError):
        open_population(str(store)).read(0, 5)


def test_a_folder_of_adapters_may_hold_a_manifest_of_another_kind(tmp_path: Path) -> None:
    source = write_adapters(tmp_path / "source", 2)
    (source / "manifest.json").write_text('{"name": "a web page"}')
    assert open_population(str(source)).count == 2
