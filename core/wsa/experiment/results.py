"""Results: a task's outcome, all of them merged, and the long table of metrics."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.cache import Cache
from wsa.experiment import divergence
from wsa.experiment.duplicates import duplicate_groups
from wsa.experiment.layer_map import layer_map
from wsa.experiment.overall import best, comparisons, deltas, overall
from wsa.experiment.uncertainty import bootstrap
from wsa.population.assembly import NOT_FINITE
from wsa.provenance import origins
from wsa.train import PARTS, PRIMARY, REGRESSION, majority, mean_control, per_adapter, summarise
from wsa_kernels.compilation import problem

if TYPE_CHECKING:
    from wsa.experiment.labels import Labels
    from wsa.experiment.plan import Task
    from wsa.experiment.preparation import Prepared
    from wsa.experiment.splitting import Splits
    from wsa.experiment.training import Trained
    from wsa.train import Outcome, Split

SCHEMA_VERSION = 2
# Kept with a task but not in results.json: as long as the test part.
PRIVATE = "per_adapter"
HEAD = ("task", "view", "representation", "layer_set", "label", "head", "repeat")


def task_result(task: Task, trained: Trained, labels: Labels, split: Split) -> dict[str, Any]:
    """Return what is stored of one task: every seed, their summary, the shuffled control."""
    outcome = trained.outcome
    what = {
        "task": task.name,
        "view": task.view,
        "representation": task.representation,
        "version": task.request.offer.representation.version,
        "layer_set": task.layer_set,
        "label": task.label,
        "kind": labels.kind,
        "primary": outcome.goal.primary,
        "head": task.head,
        "repeat": task.repeat,
        "control": task.control,
        "layers": len(task.layers),
        "columns": trained.columns,
        "columns_constant": outcome.columns_constant,
    }
    how = {
        "conditions": outcome.conditions,
        "exact_resume": outcome.exact_resume,
        "warnings": outcome.warnings,
    }
    if task.probes:
        return what | {"probes": layer_map(task, outcome)} | how
    return what | _seeds(task, outcome) | _test_adapters(outcome, labels, split) | how


def _seeds(task: Task, outcome: Outcome) -> dict[str, Any]:
    count = max(1, len(task.draws))
    told = [run | ({"draw": run["seed"] % count} if task.draws else {}) for run in outcome.runs]
    runs = [run for run in told if not run["shuffled"]]
    return {
        "runs": runs,
        "shuffled": [run for run in told if run["shuffled"]],
        "summary": {split: _summary(runs, split) for split in PARTS},
        "over": "seeds",
    }


def _test_adapters(outcome: Outcome, labels: Labels, split: Split) -> dict[str, Any]:
    """Return intervals over the test adapters, and what each of them adds to the score."""
    runs = enumerate(outcome.runs)
    mine = [index for index, run in runs if divergence.trained(run) and not run["shuffled"]]
    if not mine:
        return {"test_adapters": {}, PRIVATE: []}
    truth, answers = outcome.labels["test"][mine], outcome.probabilities["test"][mine]
    scores = per_adapter(outcome.goal, truth, answers)
    strata = labels.codes[split.test]
    return {
        "test_adapters": bootstrap(outcome.goal, scores, labels.values[split.test], strata),
        PRIVATE: [round(float(value), 9) for value in scores.mean(axis=0)],
    }


def about(prepared: Prepared, splits: Splits, failures: dict[str, str]) -> dict[str, Any]:
    """Return what results.json says beside what the tasks found: what was asked, and of whom."""
    broken = {each.name: text for each, text in prepared.extraction.failures.items()}
    labels = {name: _label(prepared, name, splits) for name in prepared.labels}
    first = next(iter(labels))
    return {
        "schema_version": SCHEMA_VERSION,
        "config": prepared.config.decisive(),
        "population": _population(prepared, next(iter(splits.values()))),
        "representations": _origins(prepared),
        "labels": labels,
        "controls": {"majority": labels[first]["majority"][labels[first]["primary"]]},
        "failures": prepared.failures | broken | failures,
        "quarantined": prepared.extraction.store.quarantined,
    }


def merge(told: dict[str, Any], found: Sequence[dict[str, Any]], splits: Splits) -> dict[str, Any]:
    """Return results.json: what is told of the run, and what every task found."""
    tasks = [_public(task) for task in found if "probes" not in task]
    maps = [task for task in found if "probes" in task]
    sound = [task for task in found if "probes" not in task and divergence.counts(task)]
    rows = overall(sound)
    bests = {name: best(rows, name) for name in told["labels"]}
    merged = {
        "tasks": tasks,
        "overall": rows,
        "deltas": list(deltas(sound)),
        "comparisons": comparisons(sound, splits, bests),
        "maps": maps,
        "best": next(iter(bests.values())),
        "best_by_label": bests,
        "warnings": _warnings(found),
    }
    return restored(told, merged)


def restored(told: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return results with what is told of the run, in its order: the keys of a file are sorted."""
    failed = told["failures"] | divergence.diverged([*found["tasks"], *found["maps"]])
    return found | told | {"failures": failed}


def metrics_csv(tasks: Sequence[dict[str, Any]]) -> str:
    """Return every number metric in long form, one row per task x seed x split x metric.

    Seeds that do not count are left out: no column would tell them from the others.
    """
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([*HEAD, "seed", "shuffled", "split", "metric", "value"])
    for task in tasks:
        head = [task[name] for name in HEAD]
        for run in divergence.counted([*task["runs"], *task["shuffled"]]):
            for split in PARTS:
                for metric, value in sorted(_numbers(run[split])):
                    table.writerow([*head, run["seed"], run["shuffled"], split, metric, value])
    return out.getvalue()


def _numbers(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield every metric that is a number; those of a class or a tenth with its place."""
    for name, value in metrics.items():
        if isinstance(value, int | float):
            yield name, value
        elif isinstance(value, dict):
            for part, values in value.items():
                for place, each in enumerate(values):
                    if each is not None:
                        yield f"{part}[{place}]", each


def _public(task: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in task.items() if name != PRIVATE}


def _warnings(tasks: Sequence[dict[str, Any]]) -> list[str]:
    """Say what was not done as asked, or not as an unbroken run would."""
    reason = problem()
    told = [f"nothing was compiled: {reason}"] if reason else []
    inexact = [task["task"] for task in tasks if not task["exact_resume"]]
    if inexact:
        names = ", ".join(inexact)
        told.append(f"resumed under other conditions, so not to the same bytes: {names}")
    return told + [f"{each['task']}: {line}" for each in tasks if (line := divergence.told(each))]


def _origins(prepared: Prepared) -> dict[str, Any]:
    extraction = prepared.extraction
    sources = extraction.store.sources if isinstance(extraction.store, Cache) else None
    return origins((each.offer for each in extraction.requests), sources)


def _label(prepared: Prepared, name: str, splits: Splits) -> dict[str, Any]:
    """Return what is known of a label: its kind, its values, and what guessing is worth."""
    labels, split = prepared.labels[name], splits[name, 0]
    number = labels.kind == REGRESSION
    return {
        "kind": labels.kind,
        "primary": PRIMARY[labels.kind],
        "classes": [] if number else list(labels.classes),
        "unlabelled": int((~labels.known).sum()),
        "unlabelled_adapters": _names(prepared, ~labels.known),
        "majority": mean_control(labels.values, split)
        if number
        else {
            "accuracy": majority(labels.codes, split),
            "kappa_quadratic": 0.0,
        },
        "split": {part: len(getattr(split, part)) for part in PARTS},
    }


def _population(prepared: Prepared, split: Split) -> dict[str, Any]:
    population, extraction = prepared.population, prepared.extraction
    labels = next(iter(prepared.labels.values()))
    groups = duplicate_groups(extraction, prepared.config, prepared.labels, split)
    invalid = _names(prepared, ~extraction.valid())
    refused = {each.name: each.reason for each in population.refused}
    parts = {name: len(getattr(split, name)) for name in PARTS}
    return {
        "adapters": population.count,
        "parameters": population.layout.parameters,
        "layers": {v: len(population.catalogue.layers(v)) for v in prepared.config.view},
        "classes": [] if labels.kind == REGRESSION else list(labels.classes),
        "label": labels.name,
        "unlabelled": int((~labels.known).sum()),
        "used": sum(parts.values()),
        "not_finite": invalid,
        "refused": refused | dict.fromkeys(map(str, invalid), NOT_FINITE),
        "notes": list(population.notes),
        "duplicates": sum(len(group["adapters"]) - 1 for group in groups),
        "duplicate_groups": groups,
        "groups": len(set(labels.groups.tolist())) if labels.groups is not None else None,
        "split": parts,
    }


def _names(prepared: Prepared, chosen: np.ndarray) -> list[Any]:
    identifiers = prepared.population.identifiers
    return [identifiers[int(row)].as_py() for row in np.flatnonzero(chosen)]


def _summary(runs: Sequence[dict[str, Any]], split: str) -> dict[str, Any]:
    """Return the t-interval of every metric over the seeds that count; empty where none does."""
    mine = divergence.counted(runs)
    names = [name for name, value in runs[0][split].items() if not isinstance(value, list | dict)]
    values = {name: [run[split][name] for run in mine] for name in names if mine}
    return {
        name: summarise(each)
        for name, each in values.items()
        if all(value is not None for value in each)
    }
