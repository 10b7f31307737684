from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.core.packed_stores import KEYS, adapter, write_adapters

from wsa.errors import WsaError
from wsa.formats import scatter
from wsa.formats.reading import Filler
from wsa.population import files
from wsa.population.files import FilePopulation
from wsa.population.source import open_population

KOHYA = "lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn1_to_q"


def opened(root: Path) -> FilePopulation:
    found = open_population(str(root))
    assert isinstance(found, FilePopulation)
    return found


def both_ways(population: FilePopulation, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether a shard read into place is that read through a buffer, in dirty memory."""
    span = population.ranges()[0]
    assert population._filler(span[0])._scatter is not None
    population.load(*span).flat.view(torch.uint8).fill_(0x7F)
    straight = population.load(*span)
    flat, scale = straight.flat.clone(), straight.scale
    del straight
    monkeypatch.setattr(Filler, "_scatter", None)
    through = population.load(*span)
    return torch.equal(flat, through.flat) and torch.equal(scale, through.scale)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("rank", [1, 2, 16])
def test_matrices_read_into_place_are_those_read_through_a_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, dtype: torch.dtype
) -> None:
    assert both_ways(opened(write_adapters(tmp_path, 5, rank, dtype)), monkeypatch)


def test_alphas_between_the_matrices_are_read_from_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        network = {}
        for block in range(3):
            name = KOHYA.format(block=block)
            network[f"{name}.lora_down.weight"] = torch.randn(4, 21).half()
            network[f"{name}.lora_up.weight"] = torch.randn(21, 4).half()
            network[f"{name}.alpha"] = torch.tensor(1.0 + number + block).half()
        save_file(network, tmp_path / f"{number}.safetensors")
    population = opened(tmp_path)
    expected = [[(1.0 + number + block) / 4 for block in range(3)] for number in range(3)]
    assert population.read(0, 3).scale.tolist() == expected
    assert both_ways(population, monkeypatch)


def test_more_parts_than_the_system_takes_at_once_are_read_in_several_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter, "MOST_PARTS", 3)
    assert both_ways(opened(write_adapters(tmp_path, 2)), monkeypatch)


def test_a_read_that_gives_less_than_asked_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    population, whole = opened(write_adapters(tmp_path, 2)), scatter.os.preadv  # type: ignore[attr-defined]

    def little(handle: int, views: list[memoryview], at: int) -> int:
        return int(whole(handle, [views[0][:7]], at))

    monkeypatch.setattr(scatter.os, "preadv", little)  # type: ignore[attr-defined]
    assert both_ways(population, monkeypatch)


def test_ranks_that_are_padded_are_not_read_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_LAYOUTS", 0)
    mixed = {}
    for rank, key in enumerate(KEYS[:5], 1):
        mixed[f"{key}.down.weight"], mixed[f"{key}.up.weight"] = (
            torch.ones(rank, 24),
            torch.ones(24, rank),
        )
    save_file(mixed, tmp_path / "mixed.safetensors")
    population = opened(tmp_path)
    assert population._filler(0)._scatter is None
    first = population.load(0, 1).flat
    stored, expected = int((first != 0).sum()), sum(2 * 24 * rank for rank in range(1, 6))
    first.fill_(3)
    del first
    assert stored == expected == int((population.load(0, 1).flat != 0).sum())


def test_a_file_that_became_shorter_is_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = opened(write_adapters(tmp_path, 2))
    path = tmp_path / "a001.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    monkeypatch.setattr("wsa.population.files._refuse_changed", lambda members: None)
    with pytest.raises(WsaError, match=r"a001.safetensors' has become shorter than its header"):
        population.read(0, 2)


def test_what_belongs_nowhere_is_not_read_where_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter, "MOST_REST", 1)
    save_file(adapter(0) | {f"{KEYS[0]}.alpha": torch.ones(1)}, tmp_path / "one.safetensors")
    population = opened(tmp_path)
    assert population._filler(0)._scatter is None
    assert population.read(0, 1).valid.all()
