from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from wsa.errors import EnvironmentProblem, WsaError
from wsa.storage import write_json
from wsa.zoo import Recipe, cached, make
from wsa.zoo.folder import alone, holds, staged


@pytest.fixture(autouse=True)
def _training_is_a_mistake(tiny_zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(recipe: Recipe, destination: Path) -> None:
        raise AssertionError(f"trained {destination} again")

    monkeypatch.setattr("wsa.zoo.digits.grow", fail)


def test_a_zoo_of_the_same_recipe_is_kept(tiny: Recipe, tiny_zoo: Path) -> None:
    assert make(tiny, tiny_zoo) == tiny_zoo


def test_a_zoo_of_another_recipe_is_refused_with_the_difference(
    tiny: Recipe, tiny_zoo: Path
) -> None:
    wanted = "another recipe .rank: 3 -> 4, seed: 0 -> 9.; remove it or name"
    with pytest.raises(WsaError, match=wanted):
        make(replace(tiny, rank=4, seed=9), tiny_zoo)


def test_a_zoo_of_another_version_is_refused(
    tiny: Recipe, tiny_zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.zoo.recipe.ZOO_VERSION", 0)
    with pytest.raises(WsaError, match="zoo_version: 1 -> 0"):
        make(tiny, tiny_zoo)


@pytest.mark.parametrize("record", ["{", "[]", "{}", '{"recipe": 3}'])
def test_a_folder_of_something_else_is_refused(tiny: Recipe, tmp_path: Path, record: str) -> None:
    (tmp_path / "recipe.json").write_text(record)
    with pytest.raises(WsaError, match="found a folder that no zoo was saved in"):
        make(tiny, tmp_path)


def test_a_file_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WsaError, match="found a file; remove it or name another folder"):
        make(tiny, tmp_path / "file")


def test_an_empty_folder_is_as_good_as_none(tiny: Recipe, tmp_path: Path) -> None:
    assert not holds(tmp_path, tiny)
    with staged(tmp_path / "empty") as partial:
        (partial / "file").touch()
        (tmp_path / "empty").mkdir()
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["file"]


def test_work_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError), staged(tmp_path / "zoo") as partial:
        (partial / "half").touch()
        raise ArithmeticError
    assert not list(tmp_path.iterdir())


def test_what_killed_work_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".zoo-partial-one-abc").mkdir()
    (tmp_path / ".zoo-partial-two-abc").mkdir()
    with alone(tmp_path / "one"):
        left = [path.name for path in tmp_path.iterdir() if path.is_dir()]
        assert left == [".zoo-partial-two-abc"]


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentProblem, match=r"cannot write .*it is a file"),
        staged(tmp_path / "file" / "zoo"),
    ):
        raise AssertionError("the work began")


def test_the_record_says_how_the_zoo_was_made(tiny: Recipe, tiny_zoo: Path) -> None:
    record = json.loads((tiny_zoo / "recipe.json").read_text())
    assert record["recipe"] == tiny.identity()
    assert record["recipe"]["shared_init"] is False
    assert len(record["base_digest"]) == 32
    description = json.loads((tiny_zoo / "dataset_info.json").read_text())["description"]
    assert json.loads(description) == record


def test_two_that_ask_at_once_wait_for_one_to_train(
    tiny: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def grow(recipe: Recipe, destination: Path) -> None:
        trained.append(recipe)
        with staged(destination) as partial:
            time.sleep(0.2)
            write_json(partial / "recipe.json", {"recipe": recipe.identity()})

    monkeypatch.setattr("wsa.zoo.digits.grow", grow)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(cached, [tiny, tiny])
    assert one == other
    assert trained == [tiny]
