from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import InstallPlugin
from torch import Tensor

from wsa import experiment
from wsa.cli.table import memory_lines
from wsa.errors import WsaError
from wsa.experiment import RunConfig
from wsa.experiment.folder import RunFolder
from wsa.train.step import Step

Configure = Callable[..., RunConfig]


def task_files(config: RunConfig) -> set[str]:
    assert config.output_dir is not None
    return {path.name for path in (config.output_dir / "tasks").iterdir()}


def test_every_representation_meets_every_layer_set_and_its_random_control(
    configure: Configure,
) -> None:
    config = configure()
    results = experiment.run(config).results
    sets = {"all": "all", "visual": "visual", "random:12": "random-12"}
    expected = {f"{r}@{s}.factors.json" for r in ("stats", "profile") for s in sets.values()}
    assert task_files(config) == expected
    assert [task["layer_set"] for task in results["tasks"]] == list(sets) * 2
    assert results["failures"] == {}


def test_a_planted_class_is_found_and_shuffled_labels_are_not(configure: Configure) -> None:
    config = configure(
        view=("delta",),
        plugins=("profile",),
        layer_sets=("all",),
        max_epochs=60,
        n=120,
        hidden_dim=64,
    )
    results = experiment.run(replace(config, num_runs=3)).results
    (task,) = results["tasks"]
    assert task["summary"]["test"]["accuracy"]["mean"] > 0.9
    assert task["shuffled"][0]["test"]["accuracy"] < 0.7
    assert results["controls"]["majority"] == pytest.approx(1 / 3, abs=0.05)


def test_deltas_are_paired_by_seed_and_random_sets_are_their_mean(configure: Configure) -> None:
    results = experiment.run(configure(plugins=("stats",))).results
    tasks = {task["layer_set"]: task for task in results["tasks"]}
    against_all, against_random = results["deltas"]
    assert (against_all["against"], against_random["against"]) == ("all", "random:12")
    found = {name: [run["test"]["accuracy"] for run in tasks[name]["runs"]] for name in tasks}
    pairs = zip(found["visual"], found["all"], strict=True)
    assert against_all["per_seed"] == pytest.approx([mine - other for mine, other in pairs])
    drawn = sum(found["random:12"]) / 5
    assert against_random["per_seed"] == pytest.approx([mine - drawn for mine in found["visual"]])
    for delta in results["deltas"]:
        assert delta["summary"]["mean"] == pytest.approx(delta["mean"])
        assert delta["summary"]["over"] == "seeds"


def test_results_are_the_same_bytes_after_deleting_tasks_and_running_again(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure()
    assert config.output_dir is not None
    experiment.run(config)
    before = (config.output_dir / "results.json").read_bytes()
    for name in sorted(task_files(config))[:3]:
        (config.output_dir / "tasks" / name).unlink()
    capsys.readouterr()
    experiment.run(config)
    assert "PROGRESS 3/6 tasks (50.0%)" in capsys.readouterr().err
    assert (config.output_dir / "results.json").read_bytes() == before
    lines = (config.output_dir / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert sum(event["event"] == "task" for event in events) == 9


def test_a_run_killed_inside_a_task_goes_on_to_the_same_bytes(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = experiment.run(configure(output_dir=tmp_path / "whole")).folder
    config = configure()
    commits = []

    def killed(*arguments: Any) -> None:
        commits.append(arguments)
        if len(commits) == 4:
            raise KeyboardInterrupt
        keep(*arguments)

    keep = RunFolder.commit
    monkeypatch.setattr(RunFolder, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(config)
    monkeypatch.setattr(RunFolder, "commit", keep)
    resumed = experiment.run(config).folder
    for name in ("results.json", "metrics.csv", "split.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_another_configuration_is_refused_and_restart_replaces_it(configure: Configure) -> None:
    config = configure(plugins=("stats",), layer_sets=("all",))
    experiment.run(config)
    other = replace(config, dropout=0.25)
    with pytest.raises(WsaError, match=r"another configuration \(dropout: 0.5 -> 0.25\)"):
        experiment.run(other)
    results = experiment.run(replace(other, restart=True)).results
    assert results["config"]["dropout"] == 0.25


def test_a_folder_that_is_not_a_run_is_never_written_to(
    configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(WsaError, match="is not empty and holds no run"):
        experiment.run(configure())
    with pytest.raises(WsaError, match="is not empty and holds no run"):
        experiment.run(configure(restart=True))
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


def test_restart_throws_away_a_run_and_nothing_else(configure: Configure, tmp_path: Path) -> None:
    config = configure(plugins=("stats",), layer_sets=("all",))
    experiment.run(config)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    experiment.run(replace(config, restart=True))
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_restart_never_touches_what_is_not_a_run(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "out" / "checkpoints").mkdir(parents=True)
    (tmp_path / "out" / "config.json").write_text('{"model": "mine"}')
    (tmp_path / "out" / "checkpoints" / "model.pt").write_text("mine")
    with pytest.raises(WsaError, match="is not empty and holds no run"):
        experiment.run(configure(restart=True))
    assert (tmp_path / "out" / "checkpoints" / "model.pt").read_text() == "mine"


def test_a_folder_another_run_writes_to_is_refused_before_any_work(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(plugins=("stats",))
    with (
        RunFolder(tmp_path / "out").opened(config.decisive(), restart=False),
        pytest.raises(WsaError, match="another run is writing to"),
    ):
        experiment.run(replace(config, restart=True))
    assert not list((tmp_path / "cache" / "features").iterdir())


def test_sampled_layers_are_compared_with_a_random_set_of_their_size(configure: Configure) -> None:
    results = experiment.run(configure(plugins=("stats",), sample_layers=0.5)).results
    sizes = {task["layer_set"]: task["layers"] for task in results["tasks"]}
    (control,) = (name for name in sizes if name.startswith("random:"))
    assert sizes["all"] == 8
    assert sizes["visual"] == sizes[control] == int(control.removeprefix("random:")) < 8
    assert [delta["against"] for delta in results["deltas"]] == ["all", control]


def test_a_random_set_that_was_asked_for_is_no_control(configure: Configure) -> None:
    results = experiment.run(configure(plugins=("stats",), layer_sets=("random:4",))).results
    assert [task["control"] for task in results["tasks"]] == [False]
    assert results["best"] == "stats@random-4.factors"


def test_device_and_precision_are_conditions_not_configuration(configure: Configure) -> None:
    config = configure(plugins=("stats",), layer_sets=("all",))
    experiment.run(config)
    results = experiment.run(replace(config, device="cpu", amp=False)).results
    assert len(results["tasks"]) == 1


def test_a_mended_plugin_joins_the_run_it_failed_in(
    configure: Configure, install_plugin: InstallPlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    install_plugin("late", source="import no_such_module")
    config = configure(plugins=("late", "stats"), layer_sets=("all",))
    assert len(experiment.run(config).results["tasks"]) == 1
    install_plugin("late")
    results = experiment.run(config).results
    assert [task["representation"] for task in results["tasks"]] == ["late", "stats"]
    assert "PROGRESS 1/2 tasks" in capsys.readouterr().err


def test_a_task_file_that_was_edited_is_done_again(configure: Configure, tmp_path: Path) -> None:
    config = configure(plugins=("stats",), layer_sets=("all",))
    before = experiment.run(config).results
    path = tmp_path / "out" / "tasks" / "stats@all.factors.json"
    path.write_text(path.read_text().replace('"epochs": 4', '"epochs": 5'))
    assert experiment.run(config).results == before


def test_a_run_killed_while_making_its_folder_goes_on(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in (".lock", ".partial-0"):
        (tmp_path / "out" / name).touch()
    assert experiment.run(configure(plugins=("stats",), layer_sets=("all",))).results["tasks"]


def test_too_few_groups_are_refused(configure: Configure) -> None:
    def group(columns: dict[str, Any]) -> None:
        columns["group"] = [row % 5 for row in range(60)]

    with pytest.raises(WsaError, match=r"label .*: each part of the split needs .* 10 groups"):
        experiment.run(configure(change=group))


def test_weights_that_changed_under_a_finished_run_are_noticed(configure: Configure) -> None:
    experiment.run(configure(layer_sets=("all",)))

    def change(columns: dict[str, Any]) -> None:
        name = next(name for name in columns if name.endswith("up.weight"))
        columns[name][0][0][0] += 1.0

    with pytest.raises(WsaError, match="another configuration \\(population: "):
        experiment.run(configure(layer_sets=("all",), change=change))


def test_a_plugin_that_fails_is_in_the_results_and_the_others_are_finished(
    configure: Configure, install_plugin: InstallPlugin
) -> None:
    install_plugin("broken", body="raise ValueError('no')")
    install_plugin("missing", source="import no_such_module")
    results = experiment.run(configure(plugins=("broken", "missing", "stats"))).results
    assert {task["representation"] for task in results["tasks"]} == {"stats"}
    assert results["failures"]["broken (view factors)"] == "it raised ValueError: no"
    assert "no_such_module" in results["failures"]["missing"]


def test_an_adapter_that_is_not_finite_is_reported_and_left_out(configure: Configure) -> None:
    def spoil(columns: dict[str, Any]) -> None:
        name = next(name for name in columns if name.endswith("up.weight"))
        columns[name][7] = [[float("inf")]] * 12

    results = experiment.run(
        configure(change=spoil, plugins=("stats",), layer_sets=("all",))
    ).results
    assert results["population"]["not_finite"] == [7]
    assert sum(results["population"]["split"].values()) == 59


def test_duplicates_are_counted_and_never_straddle_a_split(
    configure: Configure, tmp_path: Path
) -> None:
    def double(columns: dict[str, Any]) -> None:
        for name in columns:
            columns[name] = columns[name][:57] + columns[name][:3]

    results = experiment.run(
        configure(change=double, plugins=("stats",), layer_sets=("all",))
    ).results
    assert results["population"]["duplicates"] == 3
    assignment = json.loads((tmp_path / "out" / "split.json").read_text())["assignment"]
    assert assignment[:3] == assignment[57:]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"label": "colour"}, "no label column called 'colour'"),
        ({"layer_sets": ("visul",)}, "no layer set called 'visul'"),
        ({"plugins": ("statts",)}, "no plugin called 'statts'"),
        ({"label": "loss", "task": "classes"}, "label column 'loss' holds double; needed classes"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    configure: Configure, tmp_path: Path, knobs: dict[str, Any], message: str
) -> None:
    def add_loss(columns: dict[str, Any]) -> None:
        columns["loss"] = [0.5] * len(columns["category_label"])

    with pytest.raises(WsaError, match=message) as raised:
        experiment.run(configure(change=add_loss, **knobs))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("n", "classes", "message"),
    [(12, 1, "class"), (4, 9, "class"), (12, 4, "split")],
    ids=["one class", "fewer adapters than classes", "a split without a class"],
)
def test_labels_that_cannot_be_split_are_refused(
    configure: Configure, n: int, classes: int, message: str
) -> None:
    def relabel(columns: dict[str, Any]) -> None:
        columns["category_label"] = [row % classes for row in range(n)]

    with pytest.raises(WsaError, match=message):
        experiment.run(configure(n=n, change=relabel))


def test_metrics_are_one_row_per_task_seed_split_and_metric(
    configure: Configure, tmp_path: Path
) -> None:
    experiment.run(configure(plugins=("stats",), layer_sets=("all",)))
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    places = {
        tuple(row[name] for name in ("task", "seed", "shuffled", "split", "metric")) for row in rows
    }
    assert len(places) == len(rows)
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert all(float(row["value"]) == float(row["value"]) for row in rows)


def test_results_have_no_nan_literals_and_name_their_schema(
    configure: Configure, tmp_path: Path
) -> None:
    experiment.run(configure(plugins=("stats",), layer_sets=("all",)))

    def refuse(literal: str) -> None:
        raise AssertionError(literal)

    text = (tmp_path / "out" / "results.json").read_text()
    assert json.loads(text, parse_constant=refuse)["schema_version"] == 2


def test_a_forecast_counts_what_the_run_then_does(configure: Configure) -> None:
    config = configure()
    forecast = experiment.forecast(config)
    assert (forecast.adapters, forecast.shards, forecast.entries) == (60, 1, 2)
    assert forecast.entries_cached == 0
    assert len(forecast.tasks) == 6
    summary = experiment.run(config)
    assert summary.extraction.bytes_written == pytest.approx(forecast.cache_bytes, rel=0.1)
    assert experiment.forecast(config).entries_cached == 2
    found = [task["columns"] for task in summary.results["tasks"]]
    assert [task.columns for task in forecast.tasks] == found


def test_explain_tells_hits_from_misses_and_why(
    configure: Configure, install_plugin: InstallPlugin
) -> None:
    from wsa.experiment.explanation import explain

    config = configure(plugins=("stats",), layer_sets=("all",))
    folder = experiment.run(config).folder
    (row,) = explain(folder, config.cache_dir)
    assert (row["hits"], row["shards"], row["reason"]) == (1, 1, None)
    assert config.cache_dir is not None
    for path in (config.cache_dir / "features").iterdir():
        path.unlink()
    (row,) = explain(folder, config.cache_dir)
    assert row["hits"] == 0
    assert "no entry of 'stats' was ever committed" in row["reason"]


def test_features_that_never_vary_are_left_out_and_fail_no_run(
    configure: Configure, install_plugin: InstallPlugin
) -> None:
    install_plugin("flat", body="return torch.ones(len(batch), len(batch.layers))")
    results = experiment.run(configure(plugins=("flat", "stats"), layer_sets=("all",))).results
    assert {task["representation"] for task in results["tasks"]} == {"stats"}
    assert "needs a feature that varies" in results["constant"]["flat@all.factors"]
    assert not results["failures"]


def test_explain_refuses_a_folder_that_holds_no_run(tmp_path: Path) -> None:
    from wsa.experiment.explanation import explain

    (tmp_path / "mine").mkdir()
    for text in ('{"model": "mine"}', "[]", "null", "{"):
        (tmp_path / "mine" / "config.json").write_text(text)
        with pytest.raises(WsaError, match="is no run folder"):
            explain(tmp_path / "mine", tmp_path / "cache")


def test_a_batch_that_did_not_fit_is_in_the_results_and_in_the_report(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Step.take

    def refused(step: Step, values: Tensor, *rest: Any) -> None:
        if values.shape[1] > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        take(step, values, *rest)

    monkeypatch.setattr(Step, "take", refused)
    config = configure(plugins=("stats",), layer_sets=("all",), heads=("mlp", "knn"), batch_size=32)
    results = experiment.run(config).results
    network, neighbours = results["tasks"]
    assert network["conditions"]["batch_size"] == 8
    assert network["warnings"] == ["batches of 8: larger ones did not fit the memory"]
    assert neighbours["warnings"] == []
    assert memory_lines(results) == [
        "trained in batches of 8, as larger ones did not fit the memory: " + network["task"]
    ]
