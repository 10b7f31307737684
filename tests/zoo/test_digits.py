from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from wsa.errors import WsaError
from wsa.population.source import open_population
from wsa.zoo import Recipe, cached, make

ARROW = "data-00000-of-00001.arrow"
BLOCKS = [
    *(f"down_blocks.{block}.attentions.{layer}" for block in range(3) for layer in range(2)),
    "mid_block.attentions.0",
    *(f"up_blocks.{block}.attentions.{layer}" for block in (1, 2, 3) for layer in range(3)),
]
MODULES = [
    f"unet.{block}.transformer_blocks.0.attn{attention}.to_{projection}"
    for block in BLOCKS
    for attention in (1, 2)
    for projection in "qv"
]


def matrix(zoo: datasets.Dataset, column: str) -> np.ndarray:
    return np.array(zoo.data.column(column).to_pylist())


def test_a_zoo_has_the_128_matrices_of_a_stable_diffusion_adapter(tiny_zoo: Path) -> None:
    zoo = datasets.load_from_disk(tiny_zoo)
    halves = [f"{module}.lora.{half}.weight" for module in MODULES for half in ("down", "up")]
    assert zoo.column_names[:128] == halves
    for name in halves:
        width = 24 if "attn2.to_v" in name else 32
        shape = (22, 3, width) if "lora.down" in name else (22, 32, 3)
        assert matrix(zoo, name).shape == shape
        assert zoo.features[name] == datasets.List(datasets.List(datasets.Value("float32")))


def test_a_zoo_says_how_each_adapter_was_trained(tiny_zoo: Path) -> None:
    zoo = datasets.load_from_disk(tiny_zoo)
    known = "category_label category_name num_images rank learning_rate max_train_steps seed"
    assert zoo.column_names[128:] == [*known.split(), "step_loss", "group"]
    row = zoo[21]
    assert (row["category_label"], row["category_name"], row["group"]) == (1, "one", "1-0")
    assert (row["rank"], row["max_train_steps"], len(row["step_loss"])) == (3, 2, 2)
    assert all(0 < loss < 3 for loss in row["step_loss"])


def test_matrices_are_numbers_and_lie_where_their_adapter_is(tiny: Recipe, tiny_zoo: Path) -> None:
    zoo = datasets.load_from_disk(tiny_zoo)
    assert all(np.isfinite(matrix(zoo, name)).all() for name in zoo.column_names[:128])
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora.up.weight"
    assert len({values.tobytes() for values in matrix(zoo, name)}) == tiny.n
    np.testing.assert_array_equal(np.array(zoo[7][name]), matrix(zoo, name)[7])


def test_a_population_reads_a_zoo(tiny_zoo: Path) -> None:
    population = open_population(str(tiny_zoo))
    shard = population.read(0, population.count)
    assert (population.count, len(population.layout.pairs), len(population.catalogue.keys)) == (
        22,
        64,
        128,
    )
    assert shard.valid.all()
    assert len(set(shard.digests)) == 22
    assert population.column("group").to_pylist()[:3] == ["0-0", "1-0", "0-1"]


def test_the_same_recipe_gives_the_same_bytes_on_any_number_of_threads(
    tiny: Recipe, tiny_zoo: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = make(tiny, tmp_path / "again")
    assert (again / ARROW).read_bytes() == (tiny_zoo / ARROW).read_bytes()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_changes_every_matrix(tiny: Recipe, tiny_zoo: Path, tmp_path: Path) -> None:
    one = datasets.load_from_disk(tiny_zoo)
    other = datasets.load_from_disk(make(replace(tiny, seed=1), tmp_path / "other"))
    for name in one.column_names[:128]:
        assert not np.allclose(matrix(one, name), matrix(other, name))


def test_a_named_zoo_is_made_once_with_one_line_and_kept(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wsa.zoo.NAMED", {"small": tiny})
    kept = cached("small")
    assert f"training the zoo 'small', 22 of them, once: kept in {kept}" in capsys.readouterr().err
    changed = (kept / ARROW).stat().st_mtime_ns
    assert cached("small") == cached(tiny) == kept
    assert capsys.readouterr().err == ""
    assert (kept / ARROW).stat().st_mtime_ns == changed


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WsaError, match="no zoo called 'digit'; known: digits, mlp, sanity-check"):
        cached("digit")


def test_the_digit_shows_in_norms_of_the_updates_on_images_never_seen(tmp_path: Path) -> None:
    recipe = Recipe(n=60, classes=3, steps=15, base_steps=80)
    zoo = datasets.load_from_disk(make(recipe, tmp_path / "zoo"))
    norms = []
    for module in MODULES:
        up, down = (matrix(zoo, f"{module}.lora.{half}.weight") for half in ("up", "down"))
        update = up @ down
        norms += [np.linalg.norm(update, axis=1), np.linalg.norm(update, axis=2)]
    features, label = np.concatenate(norms, axis=1), np.array(zoo["category_label"])
    test = np.array([int(group.split("-")[1]) >= 7 for group in zoo["group"]])
    features = (features - features[~test].mean(0)) / features[~test].std(0)
    model = LogisticRegression(C=1e-3).fit(features[~test], label[~test])
    assert model.score(features[test], label[test]) > 0.7


def test_importing_the_zoo_imports_nothing_heavy() -> None:
    heavy = ("torch", "datasets", "sklearn", "numpy", "pyarrow")
    code = f"import sys, wsa.zoo; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
