from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import InstallPlugin, MakeDataset

import wsa
from wsa import LayerwiseRepresentation, Representation, cli
from wsa.errors import PluginFailure, WsaError
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
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
