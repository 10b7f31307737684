from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import InstallPlugin
from tests.core.adapter_files import write_diffusers

from wsa import experiment
from wsa.cli.table import print_results
from wsa.experiment import RunConfig, stamp, tasks
from wsa.experiment.folder import RunFolder
from wsa.experiment.results import merge
from wsa_kernels import compilation

Configure = Callable[..., RunConfig]
SMALL: dict[str, Any] = {"plugins": ("stats",), "layer_sets": ("all",)}
TASK = "tasks/stats@all.factors.json"


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count, one entry each, how often all tasks are merged."""
    counted: list[int] = []

    def counting(*arguments: Any) -> dict[str, Any]:
        counted.append(1)
        return merge(*arguments)

    monkeypatch.setattr(tasks, "merge", counting)
    return counted


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    paths = (each for each in folder.rglob("*") if each.is_file())
    kept = (each for each in paths if each.name not in ("events.jsonl", ".lock"))
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in kept}


def written(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("results.json", "metrics.csv", "split.json")]


def test_a_run_with_nothing_left_writes_nothing_but_an_event(
    configure: Configure, merges: list[int]
) -> None:
    first = experiment.run(configure())
    before = state(first.folder)
    second = experiment.run(configure())
    assert {"results.json", "metrics.csv", "timing.csv", "stamp.json"} <= before.keys()
    assert state(first.folder) == before
    assert len(merges) == 1
    assert second.results == first.results
    assert '"event": "unchanged"' in (first.folder / "events.jsonl").read_text().splitlines()[-1]


def test_what_is_printed_keeps_the_order_that_was_asked_for(
    configure: Configure, capsys: pytest.CaptureFixture[str], merges: list[int]
) -> None:
    config = configure(**SMALL, label="category_name,category_label")
    printed = []
    for _ in range(2):
        summary = experiment.run(config)
        capsys.readouterr()
        print_results(summary, as_json=False)
        print_results(summary, as_json=True)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[0].index("category_name: test") < printed[0].index("category_label: test")
    assert len(merges) == 1


@pytest.mark.parametrize("damage", [None, b"", b"{}", b'{"files": 1}', b"edited"], ids=str)
@pytest.mark.parametrize(
    "name", ["results.json", "metrics.csv", "timing.csv", "stamp.json", TASK, "split.json"]
)
def test_a_file_that_is_not_as_it_was_left_is_written_again(
    configure: Configure, merges: list[int], name: str, damage: bytes | None
) -> None:
    config = configure(**SMALL)
    folder = experiment.run(config).folder
    before, path = written(folder), folder / name
    path.write_bytes(
        path.read_bytes().replace(b"0", b"1") if damage == b"edited" else damage or b""
    )
    if damage is None:
        path.unlink()
    experiment.run(config)
    assert written(folder) == before
    # splits are made again from what decided them, and nothing else depends on their file
    assert len(merges) == (1 if name == "split.json" else 2)
    experiment.run(config)
    assert len(merges) == (1 if name == "split.json" else 2)


def test_a_run_of_before_the_stamp_is_merged_once_more_to_the_same_bytes(
    configure: Configure, merges: list[int]
) -> None:
    config = configure(**SMALL)
    folder = experiment.run(config).folder
    before = state(folder)
    (folder / "stamp.json").unlink()
    experiment.run(config)
    assert {name: each[2] for name, each in state(folder).items()} == {
        name: each[2] for name, each in before.items()
    }
    assert state(folder)["results.json"] == before["results.json"]
    assert len(merges) == 2


@pytest.mark.parametrize("told", ["_code", "problem"])
def test_other_code_or_a_compiler_that_fails_is_a_reason_to_merge_again(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, merges: list[int], told: str
) -> None:
    config = configure(**SMALL)
    experiment.run(config)
    monkeypatch.setattr(stamp, told, lambda: ["another"])
    experiment.run(config)
    assert len(merges) == 2


def test_a_warning_goes_with_its_cause(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(**SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(compilation, "_problems", ["no compiler"])
        assert experiment.run(config).results["warnings"] == ["nothing was compiled: no compiler"]
    assert experiment.run(config).results["warnings"] == []


def test_classes_that_were_renamed_are_told_by_their_new_names(configure: Configure) -> None:
    def rename(columns: dict[str, Any]) -> None:
        columns["category_name"] = [f"kind {name[-1]}" for name in columns["category_name"]]

    experiment.run(configure(**SMALL, label="category_name"))
    results = experiment.run(configure(**SMALL, label="category_name", change=rename)).results
    assert results["population"]["classes"] == ["kind 0", "kind 1", "kind 2"]


def test_a_file_that_is_refused_later_is_told(configure: Configure, tmp_path: Path) -> None:
    for row in range(30):
        write_diffusers(tmp_path / "files" / "ab"[row % 2] / f"{row:02}.safetensors", seed=row)
    config = replace(
        configure(**SMALL), dataset=str(tmp_path / "files"), label_from="folder", skip_bad=True
    )
    config = replace(config, label="label")
    assert experiment.run(config).results["population"]["refused"] == {}
    (tmp_path / "files" / "a" / "bad.safetensors").write_bytes(b"\0" * 100)
    results = experiment.run(config).results
    assert list(results["population"]["refused"]) == ["a/bad.safetensors"]
    assert b"a/bad.safetensors" in (tmp_path / "out" / "results.json").read_bytes()


def test_a_plugin_that_fails_later_is_told(
    configure: Configure, install_plugin: InstallPlugin
) -> None:
    install_plugin("early")
    config = configure(plugins=("early", "stats"), layer_sets=("all",))
    assert experiment.run(config).results["failures"] == {}
    install_plugin("early", source="import no_such_module")
    results = experiment.run(config).results
    assert "no_such_module" in results["failures"]["early"]
    assert [task["representation"] for task in results["tasks"]] == ["stats"]


def test_damage_that_was_mended_is_told_once(configure: Configure, tmp_path: Path) -> None:
    config = configure(**SMALL)
    folder = experiment.run(config).folder
    (payload,) = (tmp_path / "cache" / "features").glob("*.safetensors")
    payload.write_bytes(payload.read_bytes()[:-1] + b"x")
    (folder / TASK).unlink()
    assert experiment.run(config).results["quarantined"] == 1
    assert experiment.run(config).results["quarantined"] == 0
    assert b'"quarantined": 0' in (folder / "results.json").read_bytes()


def test_a_task_that_no_seed_trained_is_still_a_failure(
    configure: Configure, merges: list[int]
) -> None:
    config = configure(**SMALL, learning_rate=1e38)
    first, second = experiment.run(config), experiment.run(config)
    assert len(merges) == 1
    assert second.results["failures"] == first.results["failures"] != {}


def test_tasks_that_were_left_out_are_tried_again_by_every_run(
    configure: Configure, install_plugin: InstallPlugin, merges: list[int]
) -> None:
    install_plugin("flat", body="return torch.ones(len(batch), len(batch.layers))")
    config = configure(plugins=("flat", "stats"), layer_sets=("all",))
    found = [experiment.run(config) for _ in range(2)]
    assert found[0].results == found[1].results
    assert len(found[1].results["constant"]) == 1
    assert not (found[0].folder / "stamp.json").exists()
    assert len(merges) == 2


def test_a_run_that_is_cut_off_is_merged_when_it_is_whole(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, merges: list[int]
) -> None:
    config = configure(**SMALL)
    folder = experiment.run(config).folder
    before = written(folder)
    (folder / TASK).unlink()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(config)
    experiment.run(config)
    assert written(folder) == before
    assert len(merges) == 2


@pytest.mark.parametrize(("amp", "told"), [(True, "without"), (False, None), (None, None)])
def test_conditions_that_finished_tasks_do_not_have_are_said(
    configure: Configure, capsys: pytest.CaptureFixture[str], amp: bool | None, told: str | None
) -> None:
    config = configure(**SMALL, heads=("mlp", "knn"))
    experiment.run(config)
    capsys.readouterr()
    experiment.run(replace(config, amp=amp))
    said = [line for line in capsys.readouterr().err.splitlines() if "stand as trained" in line]
    line = f"1 finished tasks stand as trained, {told} --amp; --restart trains them anew"
    assert said == ([line] if told else [])


def test_restart_trains_and_merges_anew(configure: Configure, merges: list[int]) -> None:
    config = configure(**SMALL)
    folder = experiment.run(config).folder
    before = written(folder)
    experiment.run(replace(config, restart=True))
    assert len(merges) == 2
    assert written(folder) == before
    assert '"event": "task"' in (folder / "events.jsonl").read_text()


def test_a_restart_that_is_killed_leaves_nothing_to_stand(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(**SMALL)
    folder = experiment.run(config).folder
    monkeypatch.setattr(tasks.Experiment, "results", lambda _: sys.exit(1))
    with pytest.raises(SystemExit):
        experiment.run(replace(config, restart=True))
    assert not {"stamp.json", "results.json", "metrics.csv", "timing.csv"} & {
        path.name for path in folder.iterdir()
    }


def test_a_task_that_is_edited_while_all_are_merged_is_not_believed(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, merges: list[int]
) -> None:
    config = configure(**SMALL)
    path = config.folder() / TASK

    def edit(*arguments: Any) -> dict[str, Any]:
        path.write_text(path.read_text().replace('"epochs": 4', '"epochs": 5'))
        return merge(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(tasks, "merge", edit)
        experiment.run(config)
    before = written(path.parents[1])
    experiment.run(config)
    assert merges == [1]
    assert written(path.parents[1]) == before
    assert '"epochs": 5' not in path.read_text()


def test_a_run_with_nothing_left_imports_neither_scipy_nor_scikit_learn(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure(**SMALL)
    experiment.run(config)
    knobs = {"plugins": "stats", "layer_sets": "all", "num_runs": 2, "hidden_dim": 16}
    places = {name: str(getattr(config, name)) for name in ("dataset", "output_dir", "cache_dir")}
    code = (
        f"import sys, wsa; wsa.run(max_epochs=4, **{knobs | places})\n"
        "print([name for name in ('scipy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == "[]\n"
    assert '"event": "unchanged"' in (tmp_path / "out" / "events.jsonl").read_text()
