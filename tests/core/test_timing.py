from __future__ import annotations

import json
from pathlib import Path

from wsa.experiment.timing import measured, timing_csv


def test_the_last_training_of_a_task_counts(tmp_path: Path) -> None:
    lines = [json.dumps({"event": "task", "task": "a", "seconds": s}) for s in (1.0, 2.0)]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert timing_csv(tmp_path / "events.jsonl") == "task,metric,value\na,seconds,2.0\n"


def test_half_a_line_that_a_kill_left_is_passed_over(tmp_path: Path) -> None:
    whole = json.dumps({"event": "task", "task": "a", "seconds": 1.0})
    (tmp_path / "events.jsonl").write_text(f"{whole[:9]}{whole}\n{whole}\n{whole[:20]}")
    assert timing_csv(tmp_path / "events.jsonl") == "task,metric,value\na,seconds,1.0\n"


def test_a_task_costs_time_by_run_and_epoch_and_memory() -> None:
    cost = measured(6.0, runs=3, epochs=4)
    assert (cost["seconds_per_run"], cost["seconds_per_epoch"]) == (2.0, 1.5)
    assert cost["host_peak_bytes"] > 1e6
    assert measured(6.0, runs=3, epochs=0)["seconds_per_epoch"] is None


def test_what_compiling_took_and_the_steps_that_decided_on_it_are_told(tmp_path: Path) -> None:
    event = {"event": "task", "task": "a", "step_seconds": 0.002, "compile_seconds": 12.5}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    rows = timing_csv(tmp_path / "events.jsonl").splitlines()[1:]
    assert rows == ["a,step_seconds,0.002", "a,compile_seconds,12.5"]
