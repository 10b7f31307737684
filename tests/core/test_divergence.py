from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsa import experiment
from wsa.cli.map_table import best_probes, map_table
from wsa.cli.table import failed_lines, figure, results_table
from wsa.errors import WsaError
from wsa.experiment import RunConfig
from wsa.experiment.comparison import compare
from wsa.experiment.divergence import told
from wsa.experiment.layer_map import layer_map
from wsa.train import CURE
from wsa.train.trainer import Trainer

Configure = Callable[..., RunConfig]
Fail = Callable[..., None]
SMALL: dict[str, Any] = {"plugins": ("stats",), "layer_sets": ("all",)}
TOO_HIGH = 1e38


def add_numbers(columns: dict[str, Any]) -> None:
    name = next(name for name in columns if name.endswith("up.weight"))
    columns["size"] = [sum(abs(row[0]) for row in matrix) for matrix in columns[name]]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Let the loss of some runs of every training be no number, from an epoch on."""
    losses = Trainer._losses

    def choose(runs: Sequence[int], epoch: int, loss: float = math.nan) -> None:
        def lost(trainer: Trainer) -> dict[int, float]:
            bad = runs if trainer.epoch >= epoch else ()
            found = losses(trainer).items()
            return {run: loss if run in bad else value for run, value in found}

        monkeypatch.setattr(Trainer, "_losses", lost)

    return choose


def test_a_seed_that_failed_is_told_with_its_epoch_and_the_others_count(
    configure: Configure, fail: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    fail([1], epoch=1)
    results = experiment.run(configure(num_runs=3, **SMALL)).results
    (task,), (row,) = results["tasks"], results["overall"]
    assert [run["failed_epoch"] for run in task["runs"]] == [None, 1, None]
    told_of = f"stats@all.factors: seed 1 failed at epoch 1, left out; {CURE}"
    assert results["warnings"] == failed_lines(results) == [told_of]
    assert told_of in capsys.readouterr().err
    scores = [task["runs"][seed]["test"]["accuracy"] for seed in (0, 2)]
    assert row["test"]["mean"] == task["summary"]["test"]["accuracy"]["mean"]
    assert row["test"]["mean"] == pytest.approx(sum(scores) / 2)
    assert results["failures"] == {}


def test_a_seed_that_failed_late_is_measured_at_its_best_epoch(
    configure: Configure, fail: Fail
) -> None:
    fail([0, 1], epoch=3)
    results = experiment.run(configure(num_runs=2, **SMALL)).results
    assert [run["epochs"] for run in results["tasks"][0]["runs"]] == [3, 3]
    (line,) = failed_lines(results)
    assert "seeds 0, 1 failed at epoch 3, measured at the best epoch before" in line
    assert results["overall"][0]["test"]["mean"] is not None


def test_losses_without_end_are_told_without_an_epoch(configure: Configure, fail: Fail) -> None:
    fail([0], epoch=1, loss=math.inf)
    (line,) = failed_lines(experiment.run(configure(**SMALL)).results)
    assert "seed 0 never had a finite validation loss, left out" in line


def test_a_task_that_no_seed_trained_is_a_failure_and_has_no_row(configure: Configure) -> None:
    config = configure(learning_rate=TOO_HIGH, heads=("mlp", "linear"), **SMALL)
    results = experiment.run(config).results
    assert list(results["failures"]) == ["stats@all.factors"]
    cause = results["failures"]["stats@all.factors"]
    assert cause.startswith("no seed trained: seeds 0, 1 and the shuffled control failed at epoch")
    assert [row["task"] for row in results["overall"]] == ["stats@all.factors.linear"]
    assert results["best"] == "stats@all.factors.linear"
    assert results["tasks"][0]["summary"] == {"train": {}, "val": {}, "test": {}}
    assert failed_lines(results) == []


def test_nothing_that_never_trained_is_in_the_long_table(configure: Configure, fail: Fail) -> None:
    fail([1], epoch=1)
    folder = experiment.run(configure(num_runs=3, **SMALL)).folder
    with (folder / "metrics.csv").open() as file:
        seeds = {row["seed"] for row in csv.DictReader(file)}
    assert seeds == {"0", "2"}


@pytest.mark.parametrize("label", ["category_label", "size"])
def test_where_everything_diverges_the_results_are_whole_all_the_same(
    configure: Configure, label: str
) -> None:
    sets = ("all", "visual", "per-layer")
    small = SMALL | {"layer_sets": sets, "label": label, "learning_rate": TOO_HIGH}
    summary = experiment.run(configure(change=add_numbers, splits=1, **small))
    results = json.loads((summary.folder / "results.json").read_text())
    assert (results["overall"], results["deltas"], results["comparisons"]) == ([], [], [])
    assert results["best"] is None
    assert len(results["failures"]) == 4
    ranks = {probe["rank"] for probe in results["maps"][0]["probes"]}
    assert ranks == set(range(1, 17))


def test_seeds_are_paired_where_both_trained(configure: Configure, fail: Fail) -> None:
    fail([1], epoch=1)
    sets = SMALL | {"layer_sets": ("all", "visual")}
    results = experiment.run(configure(num_runs=3, **sets)).results
    assert len(results["deltas"]) == 2
    assert all(len(delta["per_seed"]) == 2 for delta in results["deltas"])
    assert all(row["seeds"] == 2 for row in results["comparisons"])


def test_a_split_in_which_no_seed_trained_is_left_out_of_comparisons(
    configure: Configure, fail: Fail, tmp_path: Path
) -> None:
    numbers = SMALL | {"change": add_numbers, "label": "size"}
    config = configure(splits=3, heads=("mlp", "linear"), **numbers)
    folder = experiment.run(config).folder
    whole = shutil.copytree(folder, tmp_path / "whole")
    (folder / "tasks" / "stats@all.factors.split-1.json").unlink()
    fail([0, 1, 2], epoch=1)
    results = experiment.run(config).results
    assert list(results["failures"]) == ["stats@all.factors.split-1"]
    assert [row["splits"] for row in results["overall"]] == [2, 3]
    (row,) = results["comparisons"]
    assert row["splits"] == 2
    scores = {(task["head"], task["repeat"]): task["summary"]["test"] for task in results["tasks"]}
    means = [[scores[head, n]["r2"]["mean"] for n in (0, 2)] for head in ("mlp", "linear")]
    assert abs(row["difference"]) == pytest.approx(abs(sum(means[0]) - sum(means[1])) / 2)
    (row,) = [row for row in compare(whole, folder) if row["task"] == "stats@all.factors"]
    assert row["p_test_adapters"] == 1  # the splits that both have are the same


def test_a_map_leaves_out_the_seeds_that_failed(
    configure: Configure, fail: Fail, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail([0, 1, 2, 3], epoch=1)  # both seeds and the control of one probe, one seed of the next
    small = SMALL | {"layer_sets": ("per-layer",)}
    results = experiment.run(configure(**small)).results
    first, second, *_ = results["maps"][0]["probes"]
    assert (first["val"]["mean"], first["shuffled"], first["rank"]) == (None, None, 16)
    assert (second["per_seed"][0], second["failed_epochs"]) == (None, [1, None])
    assert second["val"]["mean"] is not None
    assert results["failures"] == {}
    assert "of 32 seeds of its probes 3 failed, the first at epoch 1, 3 left out" in str(
        told(results["maps"][0])
    )
    assert next(iter(map_table(results["maps"][0]).columns[1].cells)) == "diverged"
    monkeypatch.setattr("wsa.cli.map_table.BEST", 16)
    assert first["probe"] not in best_probes(results["maps"][0]).partition(";")[0].split()


def test_a_map_of_before_its_failures_were_kept_goes_on(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(*arguments: Any) -> list[dict[str, Any]]:
        rows = layer_map(*arguments)
        return [{name: row[name] for name in row if name != "failed_epochs"} for row in rows]

    monkeypatch.setattr("wsa.experiment.results.layer_map", before)
    results = experiment.run(configure(**SMALL | {"layer_sets": ("per-layer",)})).results
    assert "failed_epochs" not in results["maps"][0]["probes"][0]
    assert (results["warnings"], results["failures"]) == ([], {})


def test_a_shuffled_control_that_failed_is_no_figure(configure: Configure, fail: Fail) -> None:
    fail([2], epoch=1)
    results = experiment.run(configure(num_runs=2, **SMALL)).results
    assert results["overall"][0]["shuffled"] is None
    assert "the shuffled control failed at epoch 1, left out" in results["warnings"][0]
    table = results_table(results, "category_label")
    assert list(table.columns[-1].cells) == [""]


def test_a_run_that_nothing_trained_is_compared_with_no_other(
    configure: Configure, tmp_path: Path
) -> None:
    folders = [
        experiment.run(configure(learning_rate=rate, output_dir=tmp_path / name, **SMALL)).folder
        for name, rate in (("good", 3e-3), ("bad", TOO_HIGH))
    ]
    with pytest.raises(WsaError, match=r"no task in common: needed .*, with a seed that trained"):
        compare(*folders)


def test_another_learning_rate_is_another_run(configure: Configure) -> None:
    config = configure(**SMALL)
    results = experiment.run(config).results
    assert results["config"]["learning_rate"] == 3e-3
    other = replace(config, learning_rate=0.01)
    named = replace(config, output_dir=None).folder(), replace(other, output_dir=None).folder()
    assert named[0] != named[1]
    with pytest.raises(WsaError, match=r"another configuration \(learning_rate: 0.003 -> 0.01\)"):
        experiment.run(other)


@pytest.mark.parametrize("rate", [math.nan, math.inf, 0.0, -1.0])
def test_a_learning_rate_is_a_finite_number_above_0(rate: float) -> None:
    with pytest.raises(WsaError, match="--learning-rate needs a finite number"):
        experiment.run(RunConfig(learning_rate=rate))


def test_figures_of_what_diverged_are_told_by_their_exponents() -> None:
    assert [figure(0.1), figure(0.25, "+"), figure(-6.787e37)] == ["0.100", "+0.250", "-6.79e+37"]
