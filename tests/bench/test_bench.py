from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bench.conftest import Bench
from tests.conftest import InstallPlugin

from wsa.bench.table import COLUMNS

Install = Callable[..., None]
QUICK = ("--adapters", 3, "--seconds", 0.01)
ROW = {"case", "backend", "shape", "dtype", "median", "p20", "p80", "bytes", "bytes_per_second"}
ROW |= {"share_of_copy", "limiter", "launches", "compile_seconds", "over_best_other", "over_loop"}
ROW |= {"max_error", "adapters", "adapters_timed", "rounds", "floor_seconds", "own", "gated"}


def measured(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def rows(path: Path) -> dict[str, dict[str, Any]]:
    found = [each["extra_info"] for each in measured(path)["benchmarks"]]
    return {row["backend"]: row for row in found}


def test_a_strangers_case_is_listed_and_timed(
    stranger: Install, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger()
    assert bench("--list") == 0
    assert "doubling: quick, eager, loop, wrong" in capsys.readouterr().out
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 0
    assert list(rows(tmp_path / "now.json")) == ["quick", "eager", "loop", "wrong"]


def test_cases_that_the_allow_list_hides_are_named_and_how_to_have_them(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSA_PLUGINS", "stats")
    assert bench("--list") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("WSA_PLUGINS leaves out the bench plugins kernels (wsa)")
    assert "with WSA_PLUGINS=kernels,stats their cases are there" in said.err
    assert bench() == 2
    assert "nothing to compare; no plugin that may be loaded" in capsys.readouterr().err
    monkeypatch.setenv("WSA_PLUGINS", "kernels")
    assert bench("--list") == 0
    said = capsys.readouterr()
    assert "spectrum: " in said.out
    assert said.err == ""


def test_the_json_tells_machine_versions_commit_and_every_column(
    stranger: Install, bench: Bench, tmp_path: Path
) -> None:
    stranger()
    bench("doubling", *QUICK, "--json", tmp_path / "now.json")
    found = measured(tmp_path / "now.json")
    assert found["schema"] == "wsa bench 2"
    assert set(found["machine_info"]["versions"]) >= {"torch", "triton", "wsa"}
    assert set(found["commit_info"]) == {"id", "dirty"}
    assert set(found["rates"]) == {"copy", "copy_after", "product", "best_copy", "best_product"}
    row = rows(tmp_path / "now.json")["quick"]
    assert row.keys() >= ROW
    assert row["p20"] <= row["median"] <= row["p80"]
    assert (row["bytes"], row["launches"], row["rounds"] >= 3) == (48, 1, True)
    assert row["own"]["least"] <= row["own"]["p20"] <= row["own"]["median"] <= row["p80"]


def test_a_directory_gets_a_file_named_by_machine_and_date(
    stranger: Install, bench: Bench, tmp_path: Path
) -> None:
    stranger()
    assert bench("doubling", *QUICK, "--json", tmp_path / "results") == 0
    (path,) = (tmp_path / "results").iterdir()
    machine = measured(path)["machine_info"]["device"].split()[0].lower()
    assert re.fullmatch(rf"{machine}.*-\d{{4}}-\d\d-\d\d\.json", path.name)


def test_the_table_has_every_column(
    stranger: Install, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger()
    bench("doubling", *QUICK)
    out = capsys.readouterr().out
    heading = next(line for line in out.splitlines() if "backend" in line)
    assert [column for column in COLUMNS if column not in heading] == []
    assert "GB/s read + written" in out


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ('{"twice": 2.001 * x}', "twice is off by 0.0005"),
        ('{"twice": x / 0}', "values that are not finite"),
        ('{"double": 2 * x}', "names missing: twice"),
        ("undefined", "NameError"),
        ("exit(0)", "SystemExit"),
    ],
)
def test_a_wrong_contender_is_an_error_and_is_not_timed(
    stranger: Install,
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: str,
    problem: str,
) -> None:
    stranger(wrong=wrong)
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 1
    out = capsys.readouterr().out
    assert "FAILED doubling[factors r1 fp32 N3] wrong" in out
    assert problem in out
    assert list(rows(tmp_path / "now.json")) == ["quick", "eager", "loop"]
    (module,) = [each for name, each in sys.modules.items() if name.startswith("module_dist")]
    # once; a second call, where the first answers, is the one that is judged
    assert module.called.count("wrong") <= 2


@pytest.mark.parametrize("wrong", ["x.zero_()", "x.numpy().sort() or x.neg_()", "x.mul_(2) / 2"])
def test_a_contender_that_writes_to_its_inputs_is_an_error_and_spoils_nobody_elses(
    stranger: Install, bench: Bench, tmp_path: Path, wrong: str
) -> None:
    stranger(wrong=f'{{"twice": 2 * ({wrong})}}', first="wrong")
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 1
    found = measured(tmp_path / "now.json")["failures"]
    assert found == {"doubling[factors r1 fp32 N3] wrong": "Disagreement: it changed its inputs"}
    assert list(rows(tmp_path / "now.json")) == ["quick", "eager", "loop"]


def test_a_contender_that_answers_right_at_first_and_wrong_later_is_an_error(
    stranger: Install, bench: Bench, tmp_path: Path
) -> None:
    stranger(wrong='{"twice": (2 if called.count("wrong") < 4 else 3) * x}')
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 1
    found = measured(tmp_path / "now.json")["failures"]["doubling[factors r1 fp32 N3] wrong"]
    assert "twice is off by 0.5" in found
    assert list(rows(tmp_path / "now.json")) == ["quick", "eager", "loop"]


@pytest.mark.parametrize(
    ("truth", "problem"),
    [
        ('{"twice": 2 * x.double() / 0}', "the truth of twice has 12 values that are not finite"),
        ("{}", "the truth needs tensors by name, got dict of none"),
        ('{"twice": x[:0]}', "the truth of twice needs values, got [0, 4]"),
        ('{"twice": 2 * x.double(), "n": x.mul_(1.5)}', "the reference changes its inputs"),
    ],
)
def test_a_truth_that_proves_nothing_fails_the_whole_contest(
    stranger: Install, bench: Bench, tmp_path: Path, truth: str, problem: str
) -> None:
    stranger(truth=truth)
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 1
    found = measured(tmp_path / "now.json")
    assert (len(found["failures"]), found["benchmarks"]) == (4, [])
    assert {*found["failures"].values()} == {f"Disagreement: {problem}"}


def test_a_case_that_reads_nothing_is_timed_drawn_and_compared(
    stranger: Install, bench: Bench, tmp_path: Path
) -> None:
    stranger(size="0")
    drawn = ("--plot", tmp_path / "roofline.svg")
    assert bench("doubling", *QUICK, "--json", tmp_path / "base.json", *drawn) == 0
    rule = ("--fail-if", "slower>900%")
    assert bench("doubling", *QUICK, "--compare", tmp_path / "base.json", *rule) == 0


@pytest.mark.parametrize("size", ["-1", "float('nan')", "'many'"])
def test_a_case_that_counts_its_bytes_wrong_is_an_error(
    stranger: Install, bench: Bench, tmp_path: Path, size: str
) -> None:
    stranger(size=size)
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 1
    assert len(measured(tmp_path / "now.json")["failures"]) == 4


def test_a_contender_that_fails_while_it_is_timed_is_an_error_too(
    stranger: Install, bench: Bench, tmp_path: Path
) -> None:
    stranger(wrong='quick(x) if called.count("wrong") < 3 else undefined')
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 1
    assert list(measured(tmp_path / "now.json")["failures"]) == [
        "doubling[factors r1 fp32 N3] wrong"
    ]
    assert list(rows(tmp_path / "now.json")) == ["quick", "eager", "loop"]


def test_a_case_without_inputs_fails_and_the_others_run(
    stranger: Install, install_plugin: InstallPlugin, bench: Bench, tmp_path: Path
) -> None:
    stranger()
    source = (tmp_path / "site" / "module_dist_stranger_stranger.py").read_text()
    broken = source.replace("torch.arange", "torch.nothing").replace('"doubling"', '"tripling"')
    install_plugin("another", source=broken, group="wsa.bench")
    assert bench("doubling", "tripling", *QUICK, "--json", tmp_path / "now.json") == 1
    assert (
        "nothing"
        in measured(tmp_path / "now.json")["failures"]["tripling[factors r1 fp32 N3] quick"]
    )
    assert "quick" in rows(tmp_path / "now.json")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("x = 1", "offers no case"),
        ("from wsa import hookimpl\n@hookimpl\ndef wsa_bench_cases(): return [1]", "a wsa.Case"),
    ],
)
def test_a_broken_stranger_is_named_while_the_rest_run(
    stranger: Install,
    install_plugin: InstallPlugin,
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    source: str,
    problem: str,
) -> None:
    stranger()
    install_plugin("broken", source=source, group="wsa.bench")
    assert bench("doubling", *QUICK) == 1
    out = capsys.readouterr().out
    assert "FAILED broken: plugin 'broken'" in out
    assert problem in out
    assert "eager" in out


def test_two_plugins_that_offer_one_case_are_told_and_the_first_runs(
    stranger: Install, install_plugin: InstallPlugin, bench: Bench, tmp_path: Path
) -> None:
    stranger()
    source = (tmp_path / "site" / "module_dist_stranger_stranger.py").read_text()
    install_plugin("zealot", source=source, group="wsa.bench")
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 1
    assert "offers case 'doubling'" in measured(tmp_path / "now.json")["failures"]["zealot"]
    assert "quick" in rows(tmp_path / "now.json")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nope",), "no case called 'nope'"),
        (("moments", "--backend", "fastest"), "no backend called 'fastest'"),
        (("moments", "--view", "sideways"), "no view called 'sideways'"),
        (("moments", "--rank", "one"), "--rank needs whole numbers"),
        (("moments", "--rank", "²"), "--rank needs whole numbers"),
        (("moments", "--adapters", 0), "--adapters needs 1 or more; got 0"),
        (("moments", "--fail-if", "slower>10%"), "--fail-if needs --compare FILE"),
        (("moments", "--compare", "no.json"), "--compare cannot read no.json"),
        (("moments", "--json", "nowhere/now.json"), "nowhere does not"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], problem: str
) -> None:
    assert bench(*arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert len(error.strip().splitlines()) == 1


def test_a_backend_that_needs_another_device_is_left_out_in_one_line(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("e2e/upload") == 3
    assert "left out, as it needs a CUDA device: e2e/upload wsa" in capsys.readouterr().err


def test_a_peer_that_is_not_installed_is_left_out_in_one_line(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bench("peers/stable_rank", "--backend", "weightwatcher,svdvals", *QUICK) == 0
    error = capsys.readouterr().err
    line = "left out, as it needs the package weightwatcher: peers/stable_rank weightwatcher"
    assert error.count(line) == 1


def test_a_view_that_a_case_does_not_have_is_told_in_one_line(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    view = ("--view", "delta", "--backend", "eager")
    assert bench("moments/uniform", "representations/stats", "--view", "delta") == 2
    line = "left out, as it has no view delta: moments/uniform, representations/stats"
    assert line in capsys.readouterr().err
    assert bench("extrema", "moments/uniform", *view, *QUICK) == 0
    assert "left out, as it has no view delta: moments/uniform" in capsys.readouterr().err


def test_a_contender_called_compiled_in_which_nothing_is_compiled_is_left_out(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = ("--backend", "compiled,reference", "--view", "delta")
    assert bench("extrema", *ours, *QUICK, "--json", tmp_path / "now.json") == 0
    assert list(rows(tmp_path / "now.json")) == ["reference"]
    assert rows(tmp_path / "now.json")["reference"]["compile_seconds"] is None
    name = "extrema[delta r1 fp32 N3] compiled"
    assert f"left out, as it has nothing that torch compiles: {name}" in capsys.readouterr().err
    assert name in measured(tmp_path / "now.json")["left_out"]


def test_help_shows_what_stands_in_brackets(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench("--help")
    assert "[each case's]" in capsys.readouterr().out


def test_pytests_configuration_here_changes_nothing_and_nothing_is_left(
    stranger: Install, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger()
    here = tmp_path / "here"
    here.mkdir()
    (here / "pytest.ini").write_text("[pytest]\naddopts = --benchmark-disable --nonsense\n")
    (here / "conftest.py").write_text("raise RuntimeError('read')\n")
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--benchmark-skip")
    assert bench("doubling", *QUICK, "--json", tmp_path / "now.json") == 0
    assert len(rows(tmp_path / "now.json")) == 4
    assert sorted(os.listdir(here)) == ["conftest.py", "pytest.ini"]
    assert os.environ["PYTEST_ADDOPTS"] == "--benchmark-skip"


def test_pytest_benchmark_reads_what_was_written(
    stranger: Install, bench: Bench, tmp_path: Path
) -> None:
    stranger()
    bench("doubling", *QUICK, "--json", tmp_path / "0001_now.json")
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(tmp_path / "0001_now.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "doubling[factors r1 fp32 N3] quick" in done.stdout


def test_what_pytest_benchmark_shows_of_a_part_is_told_for_all_adapters(
    stranger: Install, bench: Bench, tmp_path: Path
) -> None:
    stranger(more="part=lambda x, rows: x[list(rows)], scaled={'loop': 1e-9},")
    bench("doubling", "--adapters", 40, "--seconds", 0.01, "--json", tmp_path / "now.json")
    found = measured(tmp_path / "now.json")["benchmarks"]
    (loop,) = [each for each in found if each["extra_info"]["backend"] == "loop"]
    assert loop["extra_info"]["adapters_timed"] == 2
    assert loop["stats"]["median"] == pytest.approx(loop["extra_info"]["median"])
    assert loop["stats"]["ops"] == pytest.approx(1 / loop["stats"]["mean"])
    assert loop["stats"]["total"] == pytest.approx(loop["stats"]["mean"] * loop["stats"]["rounds"])


def test_the_roofline_is_drawn(stranger: Install, bench: Bench, tmp_path: Path) -> None:
    stranger()
    assert bench("doubling", *QUICK, "--plot", tmp_path / "roofline.svg") == 0
    drawn = (tmp_path / "roofline.svg").read_text()
    assert drawn.startswith("<?xml")
    assert "</svg>" in drawn


def test_without_matplotlib_a_plot_is_refused_before_anything_runs(
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bench("moments", "--plot", tmp_path / "roofline.svg") == 2
    assert "pip install 'wsa[plot]'" in capsys.readouterr().err
    assert not (tmp_path / "roofline.svg").exists()
