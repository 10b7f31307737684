from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.conftest import MakeDataset, lora_columns

from wsa import cli
from wsa.cli.run import _fell_short, _uncollected

Done = subprocess.CompletedProcess[str]
Wsa = Callable[..., Done]
WSA = str(Path(sys.executable).parent / "wsa")
SMALL = ["--plugins", "stats", "--num-runs", "2", "--hidden-dim", "8", "--max-epochs", "2"]


@pytest.fixture
def wsa(tmp_path: Path) -> Wsa:
    def call(*arguments: object) -> Done:
        command = [WSA, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    return call


def one_line(done: Done, exit_code: int) -> str:
    assert done.returncode == exit_code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("wsa: ")
    return lines[0]


@pytest.mark.parametrize(
    ("plugins", "found", "short"),
    [
        (("flat", "stats"), {"constant": {"flat@all": "nothing varies"}}, True),
        (("all",), {"constant": {"flat@all": "nothing varies"}}, False),
        (("all",), {"overall": [], "constant": {"flat@all": "nothing varies"}}, True),
        (("all",), {"overall": [], "maps": [{}]}, False),
        (("all",), {"failures": {"stats": "it raised"}}, True),
        (("stats",), {}, False),
    ],
)
def test_a_run_falls_short_of_what_was_asked_for_by_name(
    plugins: tuple[str, ...], found: dict[str, Any], short: bool
) -> None:
    results = {"failures": {}, "constant": {}, "overall": [{}], "maps": []} | found
    assert _fell_short(results, plugins) is short


def test_garbage_is_looked_for_again_once_all_is_imported() -> None:
    before = gc.get_freeze_count()
    try:
        with _uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_a_command_ends_without_looking_for_garbage() -> None:
    code = (
        "import atexit, gc, sys; from wsa import cli; sys.argv[1:] = ['--help']\n"
        "atexit.register(lambda: print('frozen:', gc.get_freeze_count() > 0))\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("frozen: True\n")


def test_help_answers_in_well_under_a_second(wsa: Wsa) -> None:
    wsa("--help")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = wsa("--help")
    # 0.2 s of a processor's time, which a busy machine makes longer by less than the wall's
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.0
    assert all(command in done.stdout for command in ("run", "extract", "plugins", "cache", "zoo"))


def test_run_prints_a_table_and_a_second_run_reads_no_weight(
    wsa: Wsa, make_dataset: MakeDataset
) -> None:
    arguments = ["run", "--dataset", make_dataset(), *SMALL]
    first, second = wsa(*arguments), wsa(*arguments)
    assert first.returncode == second.returncode == 0, first.stderr
    assert "visual - all" in first.stdout
    assert "chance 0.333" in first.stdout
    assert first.stdout == second.stdout
    assert "0 shard entries computed, 1 found in the cache, no weight read" in second.stderr
    assert "PROGRESS 3/3 tasks (100.0%)" in second.stderr
    assert "peak memory: host" in second.stderr


def test_json_on_standard_output_is_results_json(
    wsa: Wsa, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    done = wsa("run", "--dataset", make_dataset(), *SMALL, "--output-dir", "out", "--json")
    assert done.stdout == (tmp_path / "out" / "results.json").read_text()


def test_a_learning_rate_too_high_is_told_and_the_other_heads_finish(
    wsa: Wsa, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    knobs = ["--learning-rate", "1e38", "--heads", "mlp,linear", "--layer-sets", "all"]
    done = wsa("run", "--dataset", make_dataset(), *SMALL, *knobs, "--output-dir", "out")
    assert done.returncode == 1
    failed = "FAILED stats@all.factors: no seed trained: seeds 0, 1 and the shuffled control failed"
    assert f"{failed} at epoch 1, left out; lower --learning-rate" in done.stdout
    assert "best on validation: stats@all.factors.linear" in done.stdout
    assert "│ mlp" not in done.stdout
    assert "Traceback" not in done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["config"]["learning_rate"] == 1e38


def test_the_python_api_writes_the_same_results(
    wsa: Wsa, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    from wsa import RunConfig, run

    folder = str(make_dataset())
    done = wsa("run", "--dataset", folder, *SMALL, "--output-dir", "one")
    assert done.returncode == 0, done.stderr
    run(
        RunConfig(
            dataset=folder,
            plugins=("stats",),
            num_runs=2,
            hidden_dim=8,
            max_epochs=2,
            output_dir=tmp_path / "two",
        )
    )
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")
    )
    assert one == two


def test_a_dry_run_writes_nothing(wsa: Wsa, make_dataset: MakeDataset, tmp_path: Path) -> None:
    done = wsa("run", "--dataset", make_dataset(), *SMALL, "--output-dir", "out", "--dry-run")
    assert "60 adapters x" in done.stdout
    assert "3 tasks x 2 runs" in done.stdout
    assert not (tmp_path / "out").exists()


def test_extract_writes_rows_labels_and_named_columns_in_order(
    wsa: Wsa, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    wsa("extract", "--dataset", make_dataset(), "--plugins", "stats", "--out", "features.parquet")
    table = pq.read_table(tmp_path / "features.parquet")
    expected = lora_columns(60, 1, 3, 0)
    assert table.column("adapter").to_pylist() == list(range(60))
    assert table.column("category_label").to_pylist() == expected["category_label"]
    name = "unet.blocks.0.attn1.to_q.up"
    means = np.array(expected[f"{name.removesuffix('.up')}.lora.up.weight"]).mean((1, 2))
    np.testing.assert_allclose(table.column(f"{name}/mean").to_numpy(), means, atol=1e-6)
    assert table.schema.field(f"{name}/kurtosis").type == "float"


@pytest.mark.parametrize(
    ("arguments", "code", "needed"),
    [
        (["run", "--dataset", "nothing"], 2, "no data set 'nothing'"),
        (["run", "--plugins", "statts"], 2, "no plugin called 'statts'"),
        (["run", "--num-runs", "0"], 2, "--num-runs needs 1 to 10000; got 0"),
        (["run", "--view", "sideways"], 2, "--view needs factors or delta"),
        (["run", "--dropout", "2"], 2, "dropout"),
        (["run", "--learning-rate", "0"], 2, "--learning-rate needs a finite number above 0"),
        (["run", "--learning-rate", "nan"], 2, "--learning-rate needs a finite number; got nan"),
        (["run", "--learning-rate", "inf"], 2, "--learning-rate needs a finite number; got inf"),
        (["run", "--learning-rate", "fast"], 2, "Invalid value for '--learning-rate'"),
        (["run", "--device", "cuda"], 3, "--device cuda needs a CUDA device"),
        (["extract", "--out", "features.xlsx"], 2, "--out needs a name ending in .parquet or .npz"),
        (["extract", "--out", "no/such/folder/f.npz"], 2, "--out needs a directory that exists"),
        (["compare", "a", "b"], 2, "a is no run folder with results"),
        (["compare", "a", "b", "--fail-if", "worse"], 2, "--fail-if needs METRIC<NUMBER"),
        (["cache", "prune"], 2, "needs --older-than DAYS, --max-bytes N or --all"),
        (["cache", "explain", "nowhere"], 2, "nowhere is no run folder"),
        (["zoo", "make", "zebras", "--out", "z"], 2, "zebras"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_users_mistake_is_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    needed: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["wsa", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    done = subprocess.CompletedProcess(arguments, int(ended.value.code or 0), *capsys.readouterr())
    assert needed in one_line(done, code)


def test_a_killed_run_resumes_to_the_same_bytes(make_dataset: MakeDataset, tmp_path: Path) -> None:
    folder = make_dataset()
    knobs = ["--plugins", "stats,profile,spectral", "--num-runs", "2", "--hidden-dim", "64"]
    places = ["--cache-dir", str(tmp_path / "cache"), "--dataset", str(folder)]
    command = [WSA, "run", *knobs, *places, "--max-epochs", "60", "--output-dir"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    tasks = tmp_path / "killed" / "tasks"
    with subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.DEVNULL) as run:
        while not tasks.is_dir() or len(list(tasks.glob("*.json"))) < 2:
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    done = subprocess.run([*command, str(tmp_path / "killed")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PROGRESS 0/9" not in done.stderr
    one, two = ((tmp_path / name / "results.json").read_bytes() for name in ("whole", "killed"))
    assert one == two


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_saves_its_training_and_says_how_to_go_on(
    make_dataset: MakeDataset, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    knobs = ["--plugins", "stats", "--num-runs", "2", "--hidden-dim", "16"]
    knobs += ["--max-epochs", "100000", "--patience", "100000"]
    places = ["--dataset", str(make_dataset()), "--output-dir", str(out), "--layer-sets", "all"]
    with subprocess.Popen(
        [WSA, "run", *knobs, *places], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        assert any("epoch" in line for line in run.stderr)  # told after five seconds
        run.send_signal(number)
        sent = time.monotonic()
        _, talk = run.communicate(timeout=30)
    assert time.monotonic() - sent < 5
    assert run.returncode == code
    assert "interrupted; nothing is half-written" in talk
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["stats@all.factors.pt"], talk


def test_a_run_with_nothing_left_to_do_ends_at_once(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    command = [WSA, "run", "--dataset", str(make_dataset()), *SMALL, "--output-dir", "out"]
    outputs, cost = [], 0.0
    for _ in range(2):
        before = os.times()
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        after = os.times()
        cost = after.children_user + after.children_system
        cost -= before.children_user + before.children_system
        outputs.append((tmp_path / "out" / "results.json").read_bytes())
        assert done.returncode == 0, done.stderr
    assert outputs[0] == outputs[1]
    # of one processor: the wall clock of a busy machine would say nothing
    assert cost < 6


def test_a_full_disk_is_one_line_that_names_the_path(
    wsa: Wsa, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder = make_dataset()
    command = f"{WSA} run --dataset {folder} --plugins profile --num-runs 1 --cache-dir cache"
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; ulimit -f 8; {command}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ,
    )
    line = one_line(done, 3)
    assert "cannot write" in line
    assert "File too large" in line
    kept = {path.suffix for path in (tmp_path / "cache" / "features").iterdir()}
    assert kept == set()


def test_cache_commands_list_verify_explain_and_prune(
    wsa: Wsa, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    cache = ["--cache-dir", "cache"]
    wsa("run", "--dataset", make_dataset(), *SMALL, *cache, "--output-dir", "out")
    assert "stats v2 factors: 1 entries, 60 adapters" in wsa("cache", "ls", *cache).stdout
    assert wsa("cache", "verify", *cache).stdout == "1 entries sound, 0 set aside\n"
    assert wsa("cache", "explain", "out", *cache).stdout == "stats factors: 1/1 hit\n"
    (payload,) = (tmp_path / "cache" / "features").glob("*.safetensors")
    payload.write_bytes(b"x" + payload.read_bytes()[1:])
    damaged = wsa("cache", "verify", *cache)
    assert (damaged.returncode, damaged.stdout) == (1, "0 entries sound, 1 set aside\n")
    wsa("extract", "--dataset", "population", "--plugins", "stats", *cache, "--out", "f.npz")
    assert wsa("cache", "prune", "--all", "--dry-run", *cache).stdout.startswith(
        "would remove 1 entries"
    )
    assert wsa("cache", "prune", "--all", *cache).stdout.startswith("removed 1 entries")
    assert wsa("cache", "ls", *cache).stdout == "0 entries, 0 B\n"


def test_compiled_code_is_listed_and_pruned_with_the_per_user_cache(
    wsa: Wsa, tmp_path: Path
) -> None:
    code = tmp_path / "xdg" / "wsa" / "compiled" / "inductor" / "code.so"
    code.parent.mkdir(parents=True)
    code.write_bytes(bytes(2048))
    told = "and 2 KiB of compiled code"
    assert wsa("cache", "ls").stdout.splitlines()[1] == f"{told}; prune --all removes it too"
    assert wsa("cache", "ls", "--cache-dir", "cache").stdout == "0 entries, 0 B\n"
    assert wsa("cache", "prune", "--all", "--dry-run").stdout.splitlines()[1] == told
    assert code.exists()
    assert wsa("cache", "prune", "--all").stdout.splitlines()[1] == told
    assert not code.parent.parent.exists()
