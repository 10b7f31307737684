from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from tests.conftest import MODULES, MakeDataset, lora_columns

from wsa.errors import EnvironmentProblem, WsaError
from wsa.population.population import Population
from wsa.population.reading import Reading
from wsa.population.source import open_population

DOWN, UP = f"{MODULES[0]}.lora.down.weight", f"{MODULES[0]}.lora.up.weight"


def stored(population: Population, key: str, row: int) -> torch.Tensor:
    """Cut one matrix out of the flat buffer by the layout."""
    shard = population.read(0, population.count)
    layer = population.catalogue.keys.index(key)
    rows, cols = population.layout.shapes[layer]
    start = population.layout.offsets[layer]
    return shard.flat[row, start : start + rows * cols].reshape(rows, cols)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_folder_is_read_value_for_value(make_dataset: MakeDataset, rank: int) -> None:
    population = open_population(str(make_dataset(n=7, rank=rank)))
    expected = lora_columns(7, rank, 3, 0)
    assert population.count == 7
    for key in (DOWN, UP):
        assert torch.equal(stored(population, key, 5), torch.tensor(expected[key][5]))


def test_padding_is_zero_and_every_layer_is_aligned(make_dataset: MakeDataset) -> None:
    population = open_population(str(make_dataset(n=3)))
    shard = population.read(0, 3)
    assert all(offset % 16 == 0 for offset in population.layout.offsets)
    filled = sum(rows * cols for rows, cols in population.layout.shapes)
    assert int((shard.flat != 0).sum()) == 3 * filled


def test_parquet_and_a_folder_hold_the_same_adapters(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder = make_dataset(n=5)
    datasets.load_from_disk(str(folder)).to_parquet(str(tmp_path / "population.parquet"))
    one, other = (
        open_population(str(path)).read(0, 5) for path in (folder, tmp_path / "population.parquet")
    )
    assert torch.equal(one.flat, other.flat)
    assert one.digests == other.digests


def test_splits_are_concatenated_or_one_is_named(tmp_path: Path) -> None:
    parts = {
        name: datasets.Dataset.from_dict(lora_columns(n, 1, 2, n))
        for name, n in [("a", 3), ("b", 4)]
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "both")
    assert open_population(str(tmp_path / "both")).count == 7
    assert open_population(f"{tmp_path / 'both'}#b").count == 4
    with pytest.raises(WsaError, match="no split 'c'; it has a, b"):
        open_population(f"{tmp_path / 'both'}#c")


def test_a_shuffled_selection_is_read_in_its_own_order(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    whole = datasets.load_from_disk(str(make_dataset(n=6)))
    whole.select([4, 1]).save_to_disk(tmp_path / "chosen")
    chosen = open_population(str(tmp_path / "chosen")).read(0, 2)
    every = open_population(str(tmp_path / "population")).read(0, 6)
    assert torch.equal(chosen.flat, every.flat[[4, 1]])


def test_flat_lists_take_their_shape_from_the_rank_column(make_dataset: MakeDataset) -> None:
    def flatten(columns: dict[str, Any]) -> None:
        for name in [name for name in columns if ".lora." in name]:
            columns[name] = [np.ravel(matrix).tolist() for matrix in columns[name]]
        columns["rank"] = [3] * len(columns[DOWN])

    nested = open_population(str(make_dataset("nested", n=4, rank=3)))
    flat = open_population(str(make_dataset("flat", n=4, rank=3, change=flatten)))
    assert flat.layout == nested.layout
    assert flat.read(0, 4).digests == nested.read(0, 4).digests


def test_limit_takes_the_first_adapters_and_n_is_counted(make_dataset: MakeDataset) -> None:
    folder = str(make_dataset(n=9))
    assert open_population(folder, Reading(limit=4)).count == 4
    assert open_population(folder, Reading(limit=400)).count == 9


def test_weights_that_are_not_finite_are_masked_and_change_no_other_row(
    make_dataset: MakeDataset,
) -> None:
    def spoil(columns: dict[str, Any]) -> None:
        columns[DOWN][2][0][1] = float("nan")
        columns[UP][4][3][0] = float("inf")

    sound = open_population(str(make_dataset("sound", n=6))).read(0, 6)
    spoilt = open_population(str(make_dataset("spoilt", n=6, change=spoil))).read(0, 6)
    assert spoilt.valid.tolist() == [True, True, False, True, False, True]
    assert torch.equal(spoilt.flat[spoilt.valid], sound.flat[spoilt.valid])
    assert not spoilt.flat[~spoilt.valid].any()


def test_a_ragged_column_is_refused_with_its_name(make_dataset: MakeDataset) -> None:
    def shorten(columns: dict[str, Any]) -> None:
        columns[DOWN][3] = [columns[DOWN][3][0][:-1]]

    population = open_population(str(make_dataset(n=5, change=shorten)))
    with pytest.raises(WsaError, match=f"column '{DOWN}' is ragged"):
        population.read(0, 5)


def test_a_missing_matrix_is_refused_with_its_row(make_dataset: MakeDataset) -> None:
    def drop(columns: dict[str, Any]) -> None:
        columns[UP][2] = None

    population = open_population(str(make_dataset(n=5, change=drop)))
    with pytest.raises(WsaError, match=f"column '{UP}' has no matrix in row 2"):
        population.read(0, 5)


def test_a_set_without_layers_says_what_it_found(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"], "score": [1.0]}).save_to_disk(tmp_path / "texts")
    with pytest.raises(WsaError, match=r"no layer columns.*found text, score"):
        open_population(str(tmp_path / "texts"))


def test_names_that_stand_for_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WsaError, match="no data set 'nothing': needed one of digits, "):
        open_population("nothing")
    with pytest.raises(WsaError, match="is no population"):
        open_population(str(tmp_path))


def test_a_folder_that_may_not_be_entered_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(EnvironmentProblem, match="needed the right to list and enter it"):
        open_population(str(tmp_path))
    with pytest.raises(EnvironmentProblem, match="cannot be reached: File name too long"):
        open_population("x" * 5000)


def test_labels_from_files_are_refused_where_there_are_none(make_dataset: MakeDataset) -> None:
    with pytest.raises(WsaError, match=r"--label-from reads labels of .* is a table"):
        open_population(str(make_dataset(n=3)), Reading(label_from="folder"))


def test_an_empty_set_or_split_is_one_line(tmp_path: Path) -> None:
    full = datasets.Dataset.from_dict(lora_columns(3, 1, 2, 0))
    full.select([]).save_to_disk(tmp_path / "empty")
    datasets.DatasetDict({"a": full, "b": full.select([])}).save_to_disk(tmp_path / "both")
    for name in ("empty", "both"):
        with pytest.raises(WsaError, match="holds a data set or split without adapters"):
            open_population(str(tmp_path / name))


def test_splits_with_other_columns_are_refused(tmp_path: Path) -> None:
    full = datasets.Dataset.from_dict(lora_columns(3, 1, 2, 0))
    parts = {"a": full, "b": full.remove_columns([DOWN, UP])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "both")
    with pytest.raises(WsaError, match="its splits differ in columns"):
        open_population(str(tmp_path / "both"))


def test_a_column_named_as_a_half_that_holds_none_is_refused(make_dataset: MakeDataset) -> None:
    def spoil(columns: dict[str, Any]) -> None:
        columns[DOWN] = [[[1, 2]]] * len(columns[DOWN])

    with pytest.raises(WsaError, match="is named as a LoRA matrix but holds"):
        open_population(str(make_dataset(n=3, change=spoil)))


def test_a_path_may_hold_the_sign_of_a_split(make_dataset: MakeDataset, tmp_path: Path) -> None:
    make_dataset(n=3).rename(tmp_path / "set #1")
    assert open_population(str(tmp_path / "set #1")).count == 3


def test_shards_are_powers_of_two_and_cover_every_adapter_once(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.population.population.SHARD_ADAPTERS", 4)
    population = open_population(str(make_dataset(n=10)))
    assert population.ranges() == [(0, 4), (4, 8), (8, 10)]
    pieces = [shard.flat for shard in population.shards(population.ranges())]
    assert torch.equal(torch.cat(pieces), population.read(0, 10).flat)


def test_reading_makes_no_python_list_of_weights(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    population = open_population(str(make_dataset(n=5)))

    def refuse(*_: object) -> None:
        raise AssertionError("a row was decoded")

    monkeypatch.setattr(
        datasets.formatting.formatting.PythonArrowExtractor, "extract_column", refuse
    )
    monkeypatch.setattr(
        datasets.formatting.formatting.PythonArrowExtractor, "extract_batch", refuse
    )
    assert population.read(0, 5).valid.all()
