from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wsa
from wsa import cli, experiment
from wsa.errors import WsaError
from wsa.experiment import RunConfig
from wsa.experiment.comparison import Rule, broken, compare, parse_rule

Configure = Callable[..., RunConfig]
SMALL: dict[str, Any] = {"plugins": ("profile",), "layer_sets": ("all",), "num_runs": 3}


@pytest.fixture
def folders(configure: Configure, tmp_path: Path) -> tuple[Path, Path]:
    """A run that learns for 40 epochs, and one that hardly learns."""
    found = []
    for name, epochs in (("good", 40), ("bad", 1)):
        config = configure(output_dir=tmp_path / name, max_epochs=epochs, n=120, **SMALL)
        found.append(experiment.run(config).folder)
    return found[0], found[1]


def test_a_run_is_compared_task_by_task_and_paired(folders: tuple[Path, Path]) -> None:
    (row,) = compare(*folders)
    assert row["task"] == "profile@all.factors"
    assert row["after"] < row["before"] - 0.1
    assert row["changes"]["accuracy"] == pytest.approx(row["after"] - row["before"])
    assert row["same_split"]
    assert row["p_test_adapters_holm"] < 0.05
    (mirrored,) = compare(*reversed(folders))
    assert mirrored["p_seeds"] == pytest.approx(row["p_seeds"])


def test_a_rule_says_which_task_broke_it(folders: tuple[Path, Path]) -> None:
    rows = compare(*folders)
    (line,) = broken(rows, parse_rule("accuracy<-0.02"))
    assert line.startswith("profile@all.factors: accuracy -0.")
    assert line.endswith("< -0.02")
    assert broken(rows, parse_rule("accuracy > 0.02")) == []
    with pytest.raises(WsaError, match=r"no metric called 'acuracy'.*did you mean 'accuracy'"):
        broken(rows, parse_rule("acuracy<0"))


def test_the_command_line_and_the_program_compare_alike(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "accuracy<-0.02"
    words = ["wsa", "compare", *map(str, folders), "--fail-if", rule, "--json"]
    monkeypatch.setattr(sys, "argv", words)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    found = wsa.compare(*folders, fail_if=[rule])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    assert ended.value.code == len(found["failed"]) == 1
    assert found["representations"] == []


def test_another_source_of_the_same_version_is_said(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folders[1] / "results.json"
    results = json.loads(path.read_text())
    assert len(results["representations"]["profile"]["source"]) == 64
    results["representations"]["profile"]["source"] = "another"
    path.write_text(json.dumps(results))
    monkeypatch.setattr(sys, "argv", ["wsa", "compare", *map(str, folders)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "profile (wsa): its source changed between the two runs" in capsys.readouterr().out


def test_a_run_is_no_different_from_itself(folders: tuple[Path, Path]) -> None:
    (row,) = compare(folders[0], folders[0])
    assert set(row["changes"].values()) == {0.0}
    assert row["p_seeds"] is None  # no seed differs
    assert row["p_test_adapters"] == 1.0


def test_a_task_that_one_run_lacks_is_named_and_breaks_any_rule(folders: tuple[Path, Path]) -> None:
    less = Path(shutil.copytree(folders[0], folders[0].parent / "less"))
    more = json.loads(next(less.glob("tasks/*.json")).read_text())
    more |= {"task": "another", "representation": "another"}
    (less / "tasks/another.json").write_text(json.dumps(more))
    found = wsa.compare(less, folders[1], ["accuracy<-1"])
    assert found["alone"] == {"before": ["another"], "after": []}
    assert found["failed"] == ["another: the second run lacks it"]
    assert wsa.compare(folders[1], less)["alone"] == {"before": [], "after": ["another"]}
    assert not wsa.compare(less, folders[1])["failed"]


def test_a_layer_map_is_not_compared_and_that_is_said(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = experiment.run(configure(**SMALL | {"layer_sets": ("all", "each-block")})).folder
    capsys.readouterr()
    (row,) = compare(folder, folder)
    assert row["task"] == "profile@all.factors"
    told = capsys.readouterr().err
    assert f"{folder}: layer maps are not compared: profile@each-block" in told


@pytest.mark.parametrize("text", ["accuracy", "accuracy=1", "<-0.02", "accuracy<x", ""])
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WsaError, match="--fail-if needs METRIC<NUMBER"):
        parse_rule(text)


def test_rules_look_below_or_above() -> None:
    assert Rule("mae", below=False, limit=0.1).broken(0.2)
    assert not Rule("mae", below=False, limit=0.1).broken(0.1)
    assert Rule("accuracy", below=True, limit=-0.02).broken(-0.03)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WsaError, match="is no run folder with results"):
        compare(tmp_path, tmp_path)
