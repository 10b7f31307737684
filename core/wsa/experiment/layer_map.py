"""Layer map: what each probe knows, ranked on validation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wsa.experiment.divergence import counted, trained
from wsa.train import summarise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsa.experiment.plan import Task
    from wsa.train import Outcome


def layer_map(task: Task, outcome: Outcome) -> list[dict[str, Any]]:
    """Return one row per probe, in the order of the layers; `rank` 1 is the best on validation."""
    size = len(outcome.runs) // len(task.probes)
    groups = [outcome.runs[start : start + size] for start in range(0, len(outcome.runs), size)]
    rows: list[dict[str, Any]] = [
        {
            "probe": probe.name,
            "block": probe.block,
            "module_type": probe.module_type,
            "layers": len(probe.layers),
        }
        | _scores(runs, outcome.goal.primary)
        for probe, runs in zip(task.probes, groups, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda index: -_mean(rows[index]))
    for rank, index in enumerate(order, 1):
        rows[index]["rank"] = rank
    return rows


def _scores(runs: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Summarise the seeds of one probe that count; the others are None in `per_seed`."""
    seeds = [run for run in runs if not run["shuffled"]]
    mine = counted(seeds)
    control = [run["test"][metric] or 0.0 for run in counted(runs) if run["shuffled"]]
    values = {part: [run[part][metric] or 0.0 for run in mine] for part in ("val", "test")}
    return {
        "metric": metric,
        **{part: summarise(each) | {"over": "seeds"} for part, each in values.items()},
        "per_seed": [run["test"][metric] or 0.0 if trained(run) else None for run in seeds],
        "failed_epochs": [run["failed_epoch"] for run in seeds],
        "shuffled": sum(control) / len(control) if control else None,
    }


def _mean(row: dict[str, Any]) -> float:
    mean = row["val"]["mean"]
    return -math.inf if mean is None else float(mean)
