from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.core.adapter_files import SITES, factors, write_diffusers, write_kohya
from tests.core.test_extraction import extracted, request

from wsa.errors import WsaError
from wsa.population import files, population
from wsa.population.files import FilePopulation
from wsa.population.reading import Reading
from wsa.population.source import open_population
from wsa_kernels.matrices import Delta


def opened(folder: Path, reading: Reading | None = None) -> FilePopulation:
    found = open_population(str(folder), reading or Reading())
    assert isinstance(found, FilePopulation)
    return found


def names(found: FilePopulation) -> list[str]:
    return [member.name for member in found.members]


def update(found: FilePopulation, name: str, site: str) -> torch.Tensor:
    row = names(found).index(name)
    start, stop = next(span for span in found.ranges() if span[0] <= row < span[1])
    shard = found.read(start, stop)
    delta = Delta(shard.flat.double(), found.group(row).layout, shard.scale)
    return delta.update(row - start, found.catalogue.layers("delta").names.index(f"unet.{site}"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "SHARD_ADAPTERS", 4)


def test_a_folder_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_diffusers(tmp_path / "a/b.safetensors")
    walks, walk = [], os.walk

    def counted(*arguments: Any, **options: Any) -> Any:
        walks.append(arguments)
        return walk(*arguments, **options)

    monkeypatch.setattr(os, "walk", counted)
    assert opened(tmp_path).count == 1
    assert len(walks) == 1


def test_two_writers_of_one_update_give_one_update(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "d.safetensors", seed=3, rank=4)
    write_kohya(tmp_path / "k.safetensors", seed=3, rank=4, alpha=2.0)
    found = opened(tmp_path)
    for site in SITES:
        up, down = factors(3, 4)[site]
        exact = up.double() @ down.double()
        torch.testing.assert_close(update(found, "d.safetensors", site), exact, rtol=1e-6, atol=0)
        half = update(found, "k.safetensors", site)
        torch.testing.assert_close(half, exact / 2, rtol=1e-6, atol=0)


def test_ranks_and_types_may_differ_and_view_delta_has_the_same_columns(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "a.safetensors", rank=1)
    write_diffusers(tmp_path / "b.safetensors", rank=3, dtype=torch.float16)
    write_diffusers(tmp_path / "c.safetensors", rank=1)
    found = opened(tmp_path)
    assert names(found) == ["b.safetensors", "a.safetensors", "c.safetensors"]
    assert [(group.stop, group.dtype) for group in found.groups] == [
        (1, torch.float16),
        (3, torch.float32),
    ]
    assert len(found.catalogue.layers("delta")) == len(SITES)
    with pytest.raises(WsaError, match="different ranks: --view delta"):
        found.catalogue.layers("factors")


def test_features_do_not_depend_on_who_else_is_in_the_folder(tmp_path: Path) -> None:
    for name in ("alone", "both"):
        write_diffusers(tmp_path / name / "a.safetensors", seed=1, rank=1)
    write_diffusers(tmp_path / "both" / "b.safetensors", seed=2, rank=4)
    rows = {}
    for name in ("alone", "both"):
        extraction = extracted(tmp_path / name, None, "spectral,stats", "delta")
        features = [extraction.features(request(extraction, p)) for p in ("spectral", "stats")]
        row = extraction.population.identifiers.to_pylist().index("a.safetensors")
        rows[name] = torch.cat([each.values[row] for each in features])
    assert torch.equal(rows["alone"], rows["both"])


def test_unequal_ranks_of_too_many_layouts_are_padded_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_LAYOUTS", 0)
    tensors = {}
    for rank, site in enumerate(SITES, 1):
        up, down = factors(rank, rank, [site])[site]
        tensors[f"unet.{site}.lora.up.weight"], tensors[f"unet.{site}.lora.down.weight"] = up, down
    save_file(tensors, tmp_path / "a.safetensors")
    found = opened(tmp_path)
    assert {min(shape) for shape in found.layout.shapes} == {8, 7}
    up, down = factors(3, 3, [SITES[2]])[SITES[2]]
    exact = up.double() @ down.double()
    torch.testing.assert_close(update(found, "a.safetensors", SITES[2]), exact, rtol=1e-6, atol=0)


def test_files_whose_tensors_lie_in_another_order_are_read_the_same(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "a.safetensors", seed=1, metadata={"note": "longer header"})
    shuffled = {
        f"unet.{site}.lora_{half}.weight": tensor
        for site, pair in reversed(factors(1, 2).items())
        for half, tensor in zip("BA", pair, strict=True)
    }
    save_file(shuffled, tmp_path / "b.safetensors")
    shard = opened(tmp_path).read(0, 2)
    assert shard.digests[0] == shard.digests[1]


def test_one_file_more_changes_one_shard_only(tmp_path: Path, small_shards: None) -> None:
    for n in range(40):
        write_diffusers(tmp_path / f"{n:02}.safetensors", seed=n, rank=1)
    before = opened(tmp_path)
    old = {tuple(names(before)[slice(*span)]) for span in before.ranges()}
    write_diffusers(tmp_path / "165.safetensors", seed=99, rank=1)
    after = opened(tmp_path)
    new = {tuple(names(after)[slice(*span)]) for span in after.ranges()}
    assert len(new - old) <= 2
    assert len(old) > 8
    assert max(map(len, new)) <= 8


def test_growing_computes_the_new_shards_only(tmp_path: Path, small_shards: None) -> None:
    folder, cache = tmp_path / "adapters", tmp_path / "cache"
    for n in range(24):
        write_diffusers(folder / f"{n:02}.safetensors", seed=n, rank=1)
    first = extracted(folder, cache, "stats", "delta")
    write_diffusers(folder / "99.safetensors", seed=99, rank=1)
    second = extracted(folder, cache, "stats", "delta")
    assert second.shards_read == second.computed <= 2 < first.computed
    assert extracted(folder, cache, "stats", "delta").shards_read == 0


def test_a_moved_folder_is_not_read_again(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "here" / "a.safetensors")
    extracted(tmp_path / "here", tmp_path / "cache", "stats", "delta")
    (tmp_path / "here").rename(tmp_path / "there")
    assert extracted(tmp_path / "there", tmp_path / "cache", "stats", "delta").shards_read == 0


def test_a_file_that_changed_since_it_was_described_stops_the_run(tmp_path: Path) -> None:
    path = write_diffusers(tmp_path / "a.safetensors")
    found = opened(tmp_path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(WsaError, match=r"'a.safetensors' has changed since the run began"):
        found.read(0, 1)
    path.unlink()
    with pytest.raises(WsaError, match=r"'a.safetensors' can no longer be read"):
        found.read(0, 1)


def test_a_tensor_off_its_boundary_is_read_too(tmp_path: Path) -> None:
    path = write_diffusers(tmp_path / "a.safetensors", rank=1)
    kept = path.read_bytes()
    length = int.from_bytes(kept[:8], "little")
    header = kept[8 : 8 + length].rstrip() + b" " * 3
    path.write_bytes(len(header).to_bytes(8, "little") + header + kept[8 + length :])
    up, down = factors(0, 1)[SITES[0]]
    exact = up.double() @ down.double()
    torch.testing.assert_close(update(opened(tmp_path), path.name, SITES[0]), exact)


def test_a_plain_network_is_read_matrix_by_matrix(tmp_path: Path) -> None:
    for seed in range(2):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.BatchNorm2d(3))
        save_file(net.state_dict(), tmp_path / f"{seed}.safetensors")
    found = opened(tmp_path)
    layers = {layer.name: (layer.rows, layer.cols) for layer in found.catalogue.layers("factors")}
    assert layers["0"] == (3, 4)
    assert layers["0.bias"] == (1, 3)
    assert "1.num_batches_tracked" not in layers
    with pytest.raises(WsaError, match="view 'delta' needs every matrix paired"):
        found.catalogue.layers("delta")


def test_the_first_adapters_only_are_those_of_all(tmp_path: Path) -> None:
    for n in range(6):
        write_diffusers(tmp_path / f"{n}.safetensors", seed=n, rank=1 + n % 2)
    found = opened(tmp_path)
    head = found.head(4)
    assert (head.count, names(head)) == (4, names(found)[:4])
    assert [group.stop for group in head.groups] == [3, 4]
    assert files.FilePopulation is type(head)
