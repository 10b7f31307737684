from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsa import experiment
from wsa.errors import WsaError
from wsa.experiment import RunConfig

Configure = Callable[..., RunConfig]
SMALL: dict[str, Any] = {"plugins": ("stats",), "layer_sets": ("all",)}


def add_numbers(columns: dict[str, Any]) -> None:
    """A number that the weights carry: the size of one matrix."""
    name = next(name for name in columns if name.endswith("up.weight"))
    columns["size"] = [sum(abs(row[0]) for row in matrix) for matrix in columns[name]]


def test_several_labels_are_several_tasks_each_with_its_own_kind(configure: Configure) -> None:
    config = configure(change=add_numbers, label="category_label, size", **SMALL)
    results = experiment.run(config).results
    assert [(task["label"], task["kind"]) for task in results["tasks"]] == [
        ("category_label", "classes"),
        ("size", "regression"),
    ]
    assert results["labels"]["size"]["majority"]["r2"] <= 0
    assert set(results["best_by_label"]) == {"category_label", "size"}
    assert "r2" in results["tasks"][1]["summary"]["test"]


def test_a_number_is_found_by_trees_in_the_statistics_of_its_layer(configure: Configure) -> None:
    config = configure(
        change=add_numbers,
        label="size",
        n=300,
        heads=("gbm", "linear"),
        plugins=("matrix_norms",),
        layer_sets=("all",),
    )
    results = experiment.run(config).results
    scores = {row["head"]: row["test"]["mean"] for row in results["overall"]}
    assert scores["gbm"] > 0.6
    assert all(row["shuffled"] < 0.3 for row in results["overall"])


def test_heads_share_split_and_seeds(configure: Configure) -> None:
    results = experiment.run(configure(heads=("mlp", "linear", "knn"), **SMALL)).results
    tasks = {task["head"]: task for task in results["tasks"]}
    assert [task["task"] for task in tasks.values()] == [
        "stats@all.factors",
        "stats@all.factors.linear",
        "stats@all.factors.knn",
    ]
    for task in tasks.values():
        assert [run["seed"] for run in task["runs"]] == [0, 1]
        assert task["runs"][0]["test"]["adapters"] == 12


def test_repeated_splits_test_other_adapters_and_are_summed_up(
    configure: Configure, tmp_path: Path
) -> None:
    results = experiment.run(configure(splits=3, **SMALL)).results
    assert [task["repeat"] for task in results["tasks"]] == [0, 1, 2]
    (row,) = results["overall"]
    assert (row["splits"], row["test"]["over"]) == (3, "splits")
    means = [task["summary"]["test"]["accuracy"]["mean"] for task in results["tasks"]]
    assert row["test"]["mean"] == pytest.approx(sum(means) / 3)
    stored = json.loads((tmp_path / "out" / "split.json").read_text())
    assert len({str(each["assignment"]) for each in stored["splits"]}) == 3


def test_a_random_control_is_the_mean_over_five_sets(configure: Configure) -> None:
    config = configure(plugins=("stats",), layer_sets=("visual",))
    results = experiment.run(config).results
    visual, control = results["tasks"]
    assert control["control"]
    assert [run["draw"] for run in control["runs"]] == [0, 1, 2, 3, 4]
    (delta,) = results["deltas"]
    means = [
        sum(run["test"]["accuracy"] for run in task["runs"]) / len(task["runs"])
        for task in (visual, control)
    ]
    assert delta["mean"] == pytest.approx(means[0] - means[1])
    assert len(delta["per_seed"]) == 2


def test_intervals_say_what_they_are_over(configure: Configure) -> None:
    (task,) = experiment.run(configure(**SMALL)).results["tasks"]
    assert task["over"] == "seeds"
    found = task["test_adapters"]["accuracy"]
    assert found["over"] == "test adapters"
    assert found["low"] <= task["summary"]["test"]["accuracy"]["mean"] <= found["high"]


def test_the_best_is_tested_against_every_other_with_holms_correction(
    configure: Configure,
) -> None:
    results = experiment.run(configure(layer_sets=("all",))).results
    (row,) = results["comparisons"]
    assert row["task"] == results["best"]
    assert row["test_adapters"] == 12
    assert row["over"] == "seeds"
    for name in ("p_seeds", "p_test_adapters"):
        assert 0 <= row[name] <= row[f"{name}_holm"] <= 1


@pytest.mark.parametrize(
    ("layer_set", "probes"), [("each-block", 2), ("each-module-type", 8), ("per-layer", 16)]
)
def test_a_layer_map_ranks_its_probes_on_validation(
    configure: Configure, layer_set: str, probes: int
) -> None:
    results = experiment.run(configure(plugins=("stats",), layer_sets=(layer_set,))).results
    (task,) = results["maps"]
    assert results["tasks"] == []
    assert len(task["probes"]) == probes
    ranked = sorted(task["probes"], key=lambda probe: probe["rank"])
    scores = [probe["val"]["mean"] for probe in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(len(probe["per_seed"]) == 2 for probe in ranked)


def test_the_layer_that_carries_the_label_is_the_best_of_the_map(configure: Configure) -> None:
    def plant(columns: dict[str, Any]) -> None:
        order = np.random.default_rng(0).permutation(120)
        for name in columns:
            if name.endswith("up.weight") and "blocks.1.attn2.to_v" not in name:
                columns[name] = [columns[name][row] for row in order]

    config = configure(
        n=120, change=plant, plugins=("profile",), layer_sets=("per-layer",), max_epochs=40
    )
    (task,) = experiment.run(config).results["maps"]
    best = min(task["probes"], key=lambda probe: probe["rank"])
    assert best["probe"] == "unet.blocks.1.attn2.to_v.up"
    assert best["test"]["mean"] > 0.7


def test_timing_and_memory_lie_beside_the_metrics_and_not_in_the_results(
    configure: Configure, tmp_path: Path
) -> None:
    experiment.run(configure(**SMALL))
    with (tmp_path / "out" / "timing.csv").open() as file:
        rows = {row["metric"]: float(row["value"]) for row in csv.DictReader(file)}
    assert {"seconds", "seconds_per_run", "seconds_per_epoch", "host_peak_bytes"} <= rows.keys()
    assert "seconds" not in (tmp_path / "out" / "results.json").read_text()


def test_every_seed_and_split_has_at_least_sixty_metrics(
    configure: Configure, tmp_path: Path
) -> None:
    experiment.run(configure(change=add_numbers, label="category_label,size", **SMALL))
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    counts: dict[tuple[str, ...], int] = {}
    for row in rows:
        place = tuple(row[name] for name in ("task", "seed", "shuffled", "split"))
        counts[place] = counts.get(place, 0) + 1
    assert len(counts) == 2 * 3 * 3
    assert min(counts.values()) >= 60


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"heads": ("xgb",)}, "no head called 'xgb'"),
        ({"label": "category_label,nope"}, "no label column called 'nope'"),
    ],
    ids=str,
)
def test_a_word_nobody_knows_is_refused_before_anything_is_written(
    configure: Configure, tmp_path: Path, knobs: dict[str, Any], message: str
) -> None:
    with pytest.raises(WsaError, match=message):
        experiment.run(configure(**(SMALL | knobs)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"splits": 0}, "--splits needs 1 to 1000; got 0"),
        ({"splits": 10**20}, "--splits needs 1 to 1000; got 1000"),
        ({"num_runs": 10**20}, "--num-runs needs 1 to 10000; got 1000"),
        ({"task": "ranking"}, "--task needs classes, regression, ordinal; got ranking"),
        ({"label": " , "}, "--label needs at least one column"),
        ({"heads": ()}, "--heads needs at least one name"),
    ],
    ids=str,
)
def test_a_knob_out_of_range_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(WsaError, match=message):
        RunConfig(**knobs)


def test_splits_that_were_made_are_read_again_where_the_same_decides_them(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(**SMALL)
    first = experiment.run(config).results
    monkeypatch.setattr("wsa.experiment.splitting.split_labels", None)
    monkeypatch.setattr("wsa.experiment.preparation.split_labels", None)
    assert experiment.run(config).results == first
    path = config.folder() / "split.json"
    path.write_text(path.read_text().replace('"inputs": "', '"inputs": "x'))
    with pytest.raises(TypeError):
        experiment.run(config)
