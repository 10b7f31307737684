"""Results: a task's outcome, all of them merged, and the long table of metrics."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from wsa.train import PARTS, majority, summarise
from wsa_kernels.compilation import problem

if TYPE_CHECKING:
    from wsa.experiment.plan import Task
    from wsa.experiment.preparation import Prepared
    from wsa.train import Outcome, Split

SCHEMA_VERSION = 1


def task_result(task: Task, outcome: Outcome, columns: int) -> dict[str, Any]:
    """Return what is stored of one task: every seed, their summary, the shuffled control."""
    runs = [run for run in outcome.runs if not run["shuffled"]]
    return {
        "task": task.name,
        "view": task.view,
        "representation": task.representation,
        "version": task.request.offer.representation.version,
        "layer_set": task.layer_set,
        "control": task.control,
        "layers": len(task.layers),
        "columns": columns,
        "columns_constant": outcome.columns_constant,
        "runs": runs,
        "shuffled": [run for run in outcome.runs if run["shuffled"]],
        "summary": {split: _summary(runs, split) for split in PARTS},
        "conditions": outcome.conditions,
        "exact_resume": outcome.exact_resume,
        "warnings": outcome.warnings,
    }


def merge(
    prepared: Prepared,
    tasks: Sequence[dict[str, Any]],
    split: Split,
    failures: dict[str, str],
) -> dict[str, Any]:
    """Return results.json: what was asked, of whom, and what every task found."""
    broken = {each.name: text for each, text in prepared.extraction.failures.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "config": prepared.config.decisive(),
        "population": _population(prepared, split),
        "controls": {"majority": majority(prepared.labels.codes, split)},
        "tasks": list(tasks),
        "deltas": list(deltas(tasks)),
        "best": best(tasks),
        "failures": prepared.failures | broken | failures,
        "quarantined": prepared.extraction.store.quarantined,
        "warnings": [f"nothing was compiled: {reason}"] if (reason := problem()) else [],
    }


def best(tasks: Sequence[dict[str, Any]]) -> str | None:
    """Name the task with the highest mean validation accuracy; test accuracy has no say."""
    candidates = [task for task in tasks if not task["control"]]
    if not candidates:
        return None
    return str(max(candidates, key=lambda t: t["summary"]["val"]["accuracy"]["mean"])["task"])


def deltas(tasks: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Compare each layer set with `all` and with its random control, paired by seed, on test."""
    places = {(t["view"], t["representation"], t["layer_set"]): t for t in tasks}
    for (view, representation, layer_set), task in places.items():
        if task["control"] or layer_set == "all":
            continue
        for other in ("all", f"random:{task['layers']}"):
            against = places.get((view, representation, other))
            if against is not None:
                yield _paired(task, against)


def metrics_csv(tasks: Sequence[dict[str, Any]]) -> str:
    """Return every number metric in long form, one row per task x seed x split x metric."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    names = ["task", "view", "representation", "layer_set", "seed", "shuffled", "split"]
    table.writerow([*names, "metric", "value"])
    for task in tasks:
        head = [task[name] for name in names[:4]]
        for run in [*task["runs"], *task["shuffled"]]:
            for split in PARTS:
                for metric, value in sorted(run[split].items()):
                    if isinstance(value, int | float):
                        table.writerow([*head, run["seed"], run["shuffled"], split, metric, value])
    return out.getvalue()


def _population(prepared: Prepared, split: Split) -> dict[str, Any]:
    population, labels, extraction = prepared.population, prepared.labels, prepared.extraction
    digests = Counter(extraction.digests())
    invalid = (~extraction.valid()).nonzero()[0]
    return {
        "adapters": population.count,
        "parameters": population.layout.parameters,
        "layers": {v: len(population.catalogue.layers(v)) for v in prepared.config.view},
        "classes": list(labels.classes),
        "label": labels.name,
        "unlabelled": int((~labels.known).sum()),
        "not_finite": [population.identifiers[int(row)].as_py() for row in invalid],
        "refused": {each.name: each.reason for each in population.refused},
        "notes": list(population.notes),
        "duplicates": sum(count - 1 for count in digests.values()),
        "groups": len(set(labels.groups.tolist())) if labels.groups is not None else None,
        "split": {name: len(getattr(split, name)) for name in PARTS},
    }


def _summary(runs: Sequence[dict[str, Any]], split: str) -> dict[str, Any]:
    names = [name for name, value in runs[0][split].items() if not isinstance(value, list | dict)]
    values = {name: [run[split][name] for run in runs] for name in names}
    return {
        name: summarise(found)
        for name, found in values.items()
        if all(value is not None for value in found)
    }


def _paired(task: dict[str, Any], against: dict[str, Any]) -> dict[str, Any]:
    pairs = zip(task["runs"], against["runs"], strict=True)
    differences = [one["test"]["accuracy"] - other["test"]["accuracy"] for one, other in pairs]
    return {
        "view": task["view"],
        "representation": task["representation"],
        "layer_set": task["layer_set"],
        "against": against["layer_set"],
        "metric": "accuracy",
        "split": "test",
        "per_seed": differences,
        "summary": summarise(differences),
    }
