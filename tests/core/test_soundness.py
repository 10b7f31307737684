from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.core.adapter_files import write_diffusers

from wsa import experiment
from wsa.errors import WsaError
from wsa.experiment import RunConfig
from wsa.experiment.preparation import prepare_extraction
from wsa.experiment.soundness import firsts
from wsa.formats.refusal import Refused
from wsa.population.assembly import MOST_TOLD, RefusedFiles, tell

Configure = Callable[..., RunConfig]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    for n in range(40):
        write_diffusers(tmp_path / "adapters" / "ab"[n % 2] / f"{n}.safetensors", seed=n)

    def make(**knobs: Any) -> RunConfig:
        return RunConfig(
            dataset=str(tmp_path / "adapters"),
            label_from="folder",
            plugins=("stats",),
            view=("delta",),
            layer_sets=("all",),
            num_runs=1,
            hidden_dim=8,
            max_epochs=2,
            cache_dir=tmp_path / "cache",
            output_dir=tmp_path / f"out-{len(list(tmp_path.iterdir()))}",
            **knobs,
        )

    return make


def spoil(path: Path) -> None:
    """Put a NaN into a file."""
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] = torch.nan
    save_file(tensors, path)


def test_a_file_that_is_not_finite_stops_the_run_before_training(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure()
    spoil(tmp_path / "adapters/a/0.safetensors")
    with pytest.raises(RefusedFiles, match="1 of 40 files are refused"):
        experiment.run(config)
    told = "refused a/0.safetensors: its weights, or its scale, are not finite"
    assert told in capsys.readouterr().err
    results = experiment.run(configure(skip_bad=True)).results
    population = results["population"]
    assert population["not_finite"] == list(population["refused"]) == ["a/0.safetensors"]
    assert (population["adapters"], population["used"]) == (40, 39)


def test_nothing_is_computed_from_the_first_file_on_that_is_not_finite(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.population.population.SHARD_ADAPTERS", 4)
    for name in ("a/0", "b/39"):
        spoil(tmp_path / "adapters" / f"{name}.safetensors")
    extraction, _, _ = prepare_extraction(configure())
    extraction.ensure()
    assert extraction.shards_read == len(extraction.population.ranges()) > 4
    assert extraction.computed == 0
    assert int((~extraction.valid()).sum()) == 2


def test_files_that_are_many_and_refused_for_one_reason_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell([Refused(f"{n}.safetensors", "it is empty") for n in range(MOST_TOLD + 1)])
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith(": it is empty")
    assert "21 ('0.safetensors', " in told


def test_results_name_the_files_that_were_skipped(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "adapters/a/x.safetensors").write_bytes(b"no")
    results = experiment.run(configure(skip_bad=True)).results
    reason = "it has 2 bytes; a safetensors file needs 8 and a header"
    assert results["population"]["refused"] == {"a/x.safetensors": reason}
    assert results["population"]["adapters"] == 40


def test_copies_are_told_and_dropped_where_asked(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_diffusers(tmp_path / "adapters/b/copy.safetensors", seed=1)
    split = experiment.run(configure()).results["population"]["split"]
    told = "1 adapters copy another one's weights (b/copy.safetensors those of b/1.safetensors)"
    assert told in capsys.readouterr().err
    assert sum(split.values()) == 41
    fewer = experiment.run(configure(dedupe=True)).results["population"]["split"]
    assert sum(fewer.values()) == 40


def test_all_copies_are_in_the_results_with_the_labels_that_differ(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_diffusers(tmp_path / "adapters/b/copy.safetensors", seed=1)
    for name in ("a/x", "b/x"):
        write_diffusers(tmp_path / f"adapters/{name}.safetensors", seed=0)
    population = experiment.run(configure(dedupe=True)).results["population"]
    assert population["duplicates"] == 3
    first, second = population["duplicate_groups"]
    assert first["adapters"] == [f"{name}.safetensors" for name in ("a/0", "a/x", "b/x")]
    assert first["dropped"] == first["adapters"][1:]
    assert first["labels"] == {"category_label": ["a", "a", "b"]}
    assert second["adapters"] == ["b/1.safetensors", "b/copy.safetensors"]
    assert second["labels"] == {}
    assert {each["part"] for each in (first, second)} <= {"train", "val", "test"}
    told = capsys.readouterr().err
    assert "3 adapters copy another one's weights, in 2 groups, (a/x.safetensors those of" in told
    assert "equal weights have different labels 'category_label' in 1 groups (a/0.safeten" in told
    again = experiment.run(configure()).results["population"]
    assert [each["dropped"] for each in again["duplicate_groups"]] == [[], []]


def test_the_first_of_equal_adapters_is_kept() -> None:
    digests, everyone = ["a", "b", "a", "c", "b"], np.ones(5, dtype=bool)
    assert firsts(digests, everyone).tolist() == [True, True, False, True, False]


def test_of_equal_adapters_one_with_a_label_is_kept(configure: Configure, tmp_path: Path) -> None:
    root = tmp_path / "adapters"
    rows = [f"{path.relative_to(root)},{n % 2}" for n, path in enumerate(sorted(root.glob("*/*")))]
    write_diffusers(root / "a/00.safetensors", seed=1)
    (root / "labels.csv").write_text("\n".join(["path,found", "a/00.safetensors,", *rows]))
    config = replace(configure(dedupe=True), label_from=None, label="found")
    population = experiment.run(config).results["population"]
    (group,) = population["duplicate_groups"]
    assert group["adapters"] == ["a/00.safetensors", "b/1.safetensors"]
    assert group["dropped"] == ["a/00.safetensors"]
    assert sum(population["split"].values()) == 40


def test_an_edit_that_left_no_trace_is_found_by_reading(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.run(configure())
    path = tmp_path / "adapters/a/2.safetensors"
    before = path.stat()
    tensors = load_file(path)
    next(iter(tensors.values()))[0, 0] += 1
    save_file(tensors, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    capsys.readouterr()
    experiment.run(configure())
    assert "no weight read" in capsys.readouterr().err
    experiment.run(configure(verify=True))
    assert "edited without a new size or time: a/2.safetensors" in capsys.readouterr().err


def test_features_are_exported_by_the_names_of_files(configure: Configure, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    experiment.export(configure(), tmp_path / "features.parquet")
    table = pq.read_table(tmp_path / "features.parquet")
    assert table.column("adapter").to_pylist()[0] == "a/0.safetensors"
    assert table.column_names[:2] == ["adapter", "category_label"]
    assert set(table.column("category_label").to_pylist()) == {"a", "b"}


def test_files_without_labels_say_where_labels_come_from(tmp_path: Path) -> None:
    write_diffusers(tmp_path / "a.safetensors")
    with pytest.raises(WsaError, match=r"needed labels.csv, .parquet or .jsonl beside them"):
        experiment.run(RunConfig(dataset=str(tmp_path), cache_dir=tmp_path / "cache"))
