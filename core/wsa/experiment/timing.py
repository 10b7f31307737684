"""Timing: what tasks took, kept apart from results, which do not depend on it."""

from __future__ import annotations

import csv
import io
import json
import resource
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

MEASURED = (
    *("seconds", "runs", "seconds_per_run", "epochs", "seconds_per_epoch"),
    *("host_peak_bytes", "device_peak_bytes"),
    # of trainings in which compiling was measured, or done
    *("step_seconds", "compiled_step_seconds", "compile_seconds"),
)


def measured(seconds: float, runs: int, epochs: int) -> dict[str, Any]:
    """Return what one task cost, for its line in events.jsonl."""
    cuda = torch.cuda.is_available()
    return {
        "seconds": round(seconds, 3),
        "runs": runs,
        "seconds_per_run": round(seconds / max(1, runs), 4),
        "epochs": epochs,
        "seconds_per_epoch": round(seconds / epochs, 5) if epochs else None,
        "host_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device_peak_bytes": torch.cuda.max_memory_allocated() if cuda else 0,
    }


def _event(line: str) -> dict[str, Any]:
    """Read one event; a kill may have left half a line, which the next event then ends."""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return found


def timing_csv(events: Path) -> str:
    """Return, in long form, what the last training of every task cost, by whichever sitting."""
    last = {}
    for line in events.read_text().splitlines():
        event = _event(line)
        if event.get("event") == "task":
            last[event["task"]] = event
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["task", "metric", "value"])
    for task, event in last.items():
        for name in MEASURED:
            if event.get(name) is not None:
                table.writerow([task, name, event[name]])
    return out.getvalue()
