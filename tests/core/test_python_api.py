from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.conftest import InstallPlugin, MakeDataset

import wsa
from wsa import LayerwiseRepresentation, Representation, RunConfig, cli
from wsa.errors import PluginFailure, WsaError
from wsa.experiment import export
from wsa_plugins.spectral import Spectral
from wsa_plugins.stats import Stats


class Local(LayerwiseRepresentation):
    name = "local"
    version = 1
    feature_names = ("positive",)

    def features(self, matrices):  # type: ignore[no-untyped-def]
        return (matrices > 0).float().mean((1, 2))[:, None]


SMALL: dict[str, Any] = {"num_runs": 1, "hidden_dim": 8, "max_epochs": 2}


def test_representations_as_objects_write_what_the_command_line_writes(
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = str(make_dataset())
    wanted: list[Representation] = [Spectral(top=3), Stats()]
    wsa.run(dataset=folder, representations=wanted, output_dir=tmp_path / "one", **SMALL)
    arguments = ["--dataset", folder, "--plugins", "spectral(top=3),stats"]
    knobs = ["--num-runs", "1", "--hidden-dim", "8", "--max-epochs", "2"]
    out = ["--output-dir", str(tmp_path / "two")]
    monkeypatch.setattr(sys, "argv", ["wsa", "run", *arguments, *knobs, *out])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    text = capsys.readouterr().out
    assert "spectral(top=3)@all.factors" in text
    assert "spectral-top" not in text
    one, two = ((tmp_path / each / "results.json").read_bytes() for each in ("one", "two"))
    assert one == two
    assert {task["representation"] for task in json.loads(one)["tasks"]} == {
        "spectral(top=3)",
        "stats",
    }


def test_a_class_of_ones_own_is_run_beside_the_others(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder = str(make_dataset())
    found = wsa.run(
        dataset=folder, representations=[Local(), Stats()], output_dir=tmp_path / "o", **SMALL
    )
    assert found.results["failures"] == {}
    assert {task["representation"] for task in found.results["tasks"]} == {"local", "stats"}


def test_an_unknown_knob_is_named() -> None:
    with pytest.raises(WsaError, match=r"no knob called 'num_run'.*did you mean 'num_runs'"):
        wsa.run(num_run=3)


def test_strict_plugins_raise_what_others_only_report(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    install_plugin("broken", body="raise ValueError('odd')")
    knobs: dict[str, Any] = {
        **SMALL,
        "dataset": str(make_dataset()),
        "plugins": ("stats", "broken"),
    }
    found = wsa.run(**knobs, output_dir=tmp_path / "lenient")
    assert list(found.results["failures"]) == ["broken (view factors)"]
    with pytest.raises(PluginFailure, match=r"broken \(view factors\) failed: it raised ValueErr"):
        wsa.run(**knobs, output_dir=tmp_path / "strict", strict_plugins=True)


def test_extract_returns_what_the_command_line_writes(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder = str(make_dataset(n=6))
    found = wsa.extract(dataset=folder, plugins=("stats", "profile"), view=("delta",))
    config = RunConfig(dataset=folder, plugins=("stats", "profile"), view=("delta",))
    export(config, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as written:
        assert np.array_equal(found.to_numpy(), written["features"])
        assert list(found.columns) == written["columns"].tolist()
    assert found.values.shape == (6, 8 * 71)
    assert found.columns[0] == "unet.blocks.0.attn1.to_q/stats.mean"
    assert found.failures == {}


def test_the_command_line_extracts_what_a_program_does(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = str(make_dataset(n=6)), tmp_path / "f.parquet"
    words = ["--dataset", folder, "--plugins", "spectral(top=3),stats", "--view", "delta"]
    monkeypatch.setattr(sys, "argv", ["wsa", "extract", *words, "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    given: list[Representation] = [Spectral(top=3), Stats()]
    found = wsa.extract(dataset=folder, representations=given, view=("delta",))
    assert pq.read_table(out).to_pandas().equals(found.to_pandas())


def test_features_go_to_torch_and_pandas_with_their_names(make_dataset: MakeDataset) -> None:
    found = wsa.extract(dataset=str(make_dataset(n=6)), representations=[Spectral(top=3)])
    frame = found.to_pandas()
    assert torch.equal(found.to_torch(), torch.from_numpy(found.values))
    assert list(frame.columns[-len(found.columns) :]) == list(found.columns)
    assert frame["category_label"].tolist() == found.label("category_label").tolist()
    assert frame[found.columns[0]].to_numpy() == pytest.approx(found.values[:, 0])
    with pytest.raises(WsaError, match="no label column called 'nothing'"):
        found.label("nothing")


def test_an_adapter_that_is_not_finite_is_a_row_of_nan(make_dataset: MakeDataset) -> None:
    def spoil(columns: dict[str, Any]) -> None:
        name = next(name for name in columns if name.endswith("up.weight"))
        columns[name][2] = [[float("inf")]] * 12

    found = wsa.extract(dataset=str(make_dataset(n=4, change=spoil)), plugins=("stats",))
    assert np.isnan(found.values).all(1).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("knobs", "problem"),
    [
        ({"limit": "40"}, "--limit needs a whole number; got '40'"),
        ({"num_workers": "4"}, "--num-workers needs a whole number; got '4'"),
        ({"num_runs": True}, "--num-runs needs a whole number; got True"),
        ({"dropout": "0.5"}, "--dropout needs a finite number; got '0.5'"),
        ({"weight_decay": float("nan")}, "--weight-decay needs a finite number; got nan"),
        ({"quick": 1}, "--quick needs True or False; got 1"),
        ({"output_dir": 3}, "--output-dir needs a path; got 3"),
        ({"plugins": [3]}, r"--plugins needs names: a tuple of them, or one text .*; got \[3\]"),
        ({"representations": []}, "representations needs at least one name or object; got none"),
        ({"representations": ""}, "representations needs at least one name or object; got none"),
        ({"representations": [3]}, "representations needs names of plugins, or objects .*; got 3"),
        (
            {"representations": [Stats()], "plugins": "spectral"},
            "representations and plugins say the same; .* got both, plugins being spectral",
        ),
    ],
)
@pytest.mark.parametrize("call", [wsa.run, wsa.extract])
def test_a_value_of_another_kind_is_told_in_one_line(
    call: Any, knobs: dict[str, Any], problem: str
) -> None:
    with pytest.raises(WsaError, match=f"^{problem}"):
        call(**knobs)


def test_text_stands_for_several_words_and_for_paths_as_on_the_command_line() -> None:
    words = RunConfig(plugins="spectral(top=3), stats", view="factors,delta", cache_dir="x")  # type: ignore[arg-type]
    given = RunConfig(
        plugins=("spectral(top=3)", "stats"), view=("factors", "delta"), cache_dir=Path("x")
    )
    assert words == given
    assert (words.decisive(), words.cache_dir) == (given.decisive(), given.cache_dir)
    assert RunConfig(output_dir="out").folder() == Path("out")  # type: ignore[arg-type]
    assert RunConfig(dataset=Path("here"), dropout=0) == RunConfig(dataset="here", dropout=0.0)  # type: ignore[arg-type]


def test_names_and_objects_may_stand_in_one_list_and_one_may_stand_alone(
    make_dataset: MakeDataset,
) -> None:
    folder = str(make_dataset(n=6))
    mixed = wsa.extract(dataset=folder, representations=["spectral(top=3)", Stats()])
    named = wsa.extract(dataset=folder, plugins="spectral(top=3),stats")
    assert mixed.columns == named.columns
    assert np.array_equal(mixed.values, named.values)
    for alone in ("stats", Stats(), ["stats", "stats"]):
        found = wsa.extract(dataset=folder, representations=alone)
        assert found.columns == wsa.extract(dataset=folder, representations=[Stats()]).columns
