from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from tests.conftest import MakeDataset, lora_columns

from wsa.errors import EnvironmentProblem, WsaError
from wsa.population import hub
from wsa.population.source import open_population


def test_a_hub_id_without_network_is_a_problem_of_the_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = "no folder 'someone/something' is here, and the hub cannot be reached"
    with pytest.raises(EnvironmentProblem, match=told):
        open_population("someone/something")
    assert "asking the hub for data set 'someone/something'" in capsys.readouterr().err


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HUB_SECONDS", 0.2)

    def wait(*_: object, **__: object) -> None:
        time.sleep(5)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", wait)
    started = time.monotonic()
    with pytest.raises(EnvironmentProblem, match=r"TimeoutError: no answer within 0\.2 s"):
        open_population("someone/something")
    assert time.monotonic() - started < 3
    assert not datasets.config.HF_HUB_OFFLINE or huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_name_that_the_hub_does_not_know_is_a_mistake() -> None:
    with pytest.raises(WsaError, match="no folder 'a--b/c' is here, and the hub has no such data"):
        open_population("a--b/c")


def test_a_mistyped_name_in_a_folder_that_exists_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WsaError, match="no data set 'runs/adaptors': needed one of digits"):
        open_population("runs/adaptors")
    assert "hub" not in capsys.readouterr().err


def test_a_copy_loaded_before_is_used_where_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = lora_columns(3, 1, 2, 0)
    datasets.Dataset.from_dict(columns).to_parquet(str(tmp_path / "x.parquet"))
    assert open_population(str(tmp_path / "x.parquet")).count == 3
    # what `datasets` keeps of a table is what it keeps of a hub's data set, under another name
    (kept,) = (tmp_path / "hf" / "parquet").glob("*/*/*/")
    copy = tmp_path / "hf" / "someone___something" / "default" / "0.0.0" / ("a" * 40)
    shutil.copytree(kept, copy)
    (copy / "parquet-train.arrow").rename(copy / "something-train.arrow")
    told = json.loads((copy / "dataset_info.json").read_text()) | {"dataset_name": "something"}
    (copy / "dataset_info.json").write_text(json.dumps(told))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    seen, load = [], hub.load

    def watched(builder: str) -> Any:
        seen.append(datasets.config.HF_HUB_OFFLINE)
        return load(builder)

    monkeypatch.setattr(hub, "load", watched)
    assert open_population("someone/something").count == 3
    # without the network for that one call alone
    assert [*seen, datasets.config.HF_HUB_OFFLINE] == [True, False]


def test_a_local_table_asks_no_server(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse() -> None:
        asked.append("a session")
        raise OSError("no network")

    monkeypatch.setattr(datasets.load, "get_session", refuse)
    # as it is without the environment that tests run in
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", True)
    datasets.Dataset.from_dict(lora_columns(3, 1, 2, 0)).to_parquet(str(tmp_path / "x.parquet"))
    assert open_population(str(tmp_path / "x.parquet")).count == 3
    assert open_population(str(make_dataset(n=3))).count == 3
    assert not asked
