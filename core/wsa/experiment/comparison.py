"""Comparison: two runs, task by task: how far apart, how surely, and whether that is allowed."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.errors import WsaError, unknown
from wsa.experiment.divergence import counts
from wsa.experiment.overall import (
    key_of,
    mean_of,
    same_splits,
    scores_by_adapter,
    seed_differences,
)
from wsa.experiment.uncertainty import corrected, over_adapters, over_seeds
from wsa.progress import say
from wsa.provenance import changed_origins
from wsa.train import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsa.experiment.splitting import Splits

    Result = dict[str, Any]
    Groups = dict[tuple[Any, ...], list[Result]]

_RULE = re.compile(r"\s*([A-Za-z][\w.]*)\s*([<>])\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Rule:
    """What must not be: a metric's change below, or above, a limit."""

    metric: str
    below: bool
    limit: float

    def broken(self, change: float) -> bool:
        """Tell whether a change is one that must not be."""
        return change < self.limit if self.below else change > self.limit


@dataclass(frozen=True)
class Stored:
    """What a run folder holds of its tasks, by name whatever the split."""

    folder: Path
    tasks: Groups
    splits: Splits


def parse_rule(text: str) -> Rule:
    """Read a rule such as accuracy<-0.02."""
    found = _RULE.fullmatch(text)
    if found is None:
        raise WsaError(f"--fail-if needs METRIC<NUMBER or METRIC>NUMBER; got {text!r}")
    return Rule(found[1], found[2] == "<", float(found[3]))


def compare(one: Path, other: Path) -> list[Result]:
    """Return one row for each task that both runs finished: B less A on test, and p-values.

    Seeds are paired, and adapters where both runs tested the same ones; p-values are Holm's.
    """
    return _rows(_stored(one), _stored(other))


def _rows(before: Stored, after: Stored) -> list[Result]:
    common = [key for key in before.tasks if key in after.tasks]
    if not common:
        folders = f"{before.folder} and {after.folder}"
        raise WsaError(
            f"{folders} have no task in common: needed one of the same name, no layer map, with a "
            "seed that trained"
        )
    rows = [_row(before, after, key) for key in common]
    corrected(rows)
    return rows


def report(before: Path | str, after: Path | str, fail_if: str | Sequence[str] = ()) -> Result:
    """Compare two run folders, as `wsa compare --json` prints it.

    `tasks` is what `compare` returns, `alone` names the tasks that one of them has not, or trained
    no seed of, `failed` those that break a rule such as 'accuracy<-0.02', or that any rule asks for
    and the second run lacks; `representations` what is not the same code in both.
    """
    texts = [fail_if] if isinstance(fail_if, str) else fail_if
    rules = [parse_rule(text) for text in texts]
    one, other = _stored(Path(before)), _stored(Path(after))
    rows = _rows(one, other)
    lost, added = _alone(one, other), _alone(other, one)
    failed = [line for rule in rules for line in broken(rows, rule)]
    return {
        "tasks": rows,
        "alone": {"before": lost, "after": added},
        "failed": failed + [f"{task}: the second run lacks it" for task in lost if rules],
        "representations": changed_origins(_origins(one.folder), _origins(other.folder)),
    }


def _alone(one: Stored, other: Stored) -> list[str]:
    """Return the tasks that a run has and another has not, by name."""
    return [tasks[0]["task"] for key, tasks in one.tasks.items() if key not in other.tasks]


def broken(rows: Sequence[Result], rule: Rule) -> list[str]:
    """Say of each task that breaks a rule by how much; raises WsaError for an unknown metric."""
    known = sorted({name for row in rows for name in row["changes"]})
    if rule.metric not in known:
        raise unknown("metric", rule.metric, known)
    sign = "<" if rule.below else ">"
    return [
        f"{row['task']}: {rule.metric} {row['changes'][rule.metric]:+.4f} {sign} {rule.limit:+g}"
        for row in rows
        if rule.metric in row["changes"] and rule.broken(row["changes"][rule.metric])
    ]


def _stored(folder: Path) -> Stored:
    try:
        found = json.loads((folder / "split.json").read_text())
        paths = sorted((folder / "tasks").glob("*.json"))
        tasks = [json.loads(path.read_text()) for path in paths]
    except (OSError, ValueError) as problem:
        raise WsaError(
            f"{folder} is no run folder with results; needed one that wsa run has finished"
        ) from problem
    groups: Groups = defaultdict(list)
    maps = [task["task"] for task in tasks if "probes" in task]
    if maps:
        say(f"{folder}: layer maps are not compared: {', '.join(maps)}")
    mine = [t for t in tasks if "runs" in t and not t["control"] and counts(t)]
    for task in sorted(mine, key=_repeat):
        groups[key_of(task)].append(task)
    several = {(each["label"], each["repeat"]): each for each in found.get("splits", [])}
    labels = {task["label"] for task in tasks if "label" in task}
    splits = several or {(label, 0): found for label in labels}
    return Stored(folder, groups, {key: Split.from_json(each) for key, each in splits.items()})


def _origins(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a run's results say of its representations; nothing where they are older."""
    try:
        found = json.loads((folder / "results.json").read_text())
    except (OSError, ValueError):
        return {}
    return dict(found.get("representations", {}))


def _repeat(task: Result) -> int:
    return int(task["repeat"])


def _row(before: Stored, after: Stored, key: tuple[Any, ...]) -> Result:
    one, other = before.tasks[key], after.tasks[key]
    metric = one[0]["primary"]
    same = all(_same_split(before, after, task) for task in one)
    row = {
        "task": one[0]["task"],
        "metric": metric,
        "before": mean_of(one, metric),
        "after": mean_of(other, metric),
        "changes": _changes(one, other),
        "same_split": same,
        "p_seeds": None,
        "p_test_adapters": None,
    }
    pairs = same_splits(other, one)
    return row | (_tested(before, after, pairs) if same and pairs else {})


def _tested(before: Stored, after: Stored, pairs: Sequence[tuple[Result, Result]]) -> Result:
    other, one = zip(*pairs, strict=True)
    split = before.splits[one[0]["label"], one[0]["repeat"]]
    share = len(split.test) / (len(split.test) + len(split.train))
    scores = scores_by_adapter(one, before.splits), scores_by_adapter(other, after.splits)
    rows = sorted(scores[0].keys() & scores[1].keys())
    apart = np.array([scores[1][row] - scores[0][row] for row in rows])
    seeds = [seed_differences(mine, against, one[0]["primary"]) for mine, against in pairs]
    return {"p_seeds": over_seeds(seeds, share), "p_test_adapters": over_adapters(apart)}


def _same_split(before: Stored, after: Stored, task: Result) -> bool:
    place = (task["label"], task["repeat"])
    mine, other = before.splits[place], after.splits.get(place)
    return other is not None and np.array_equal(mine.assignment, other.assignment)


def _changes(one: Sequence[Result], other: Sequence[Result]) -> dict[str, float]:
    """Return the change of every metric's mean on test, where both runs have it."""
    found = []
    for tasks in (one, other):
        summaries = [task["summary"]["test"] for task in tasks]
        names = set.intersection(*(set(each) for each in summaries))
        found.append({n: float(np.mean([s[n]["mean"] for s in summaries])) for n in names})
    return {name: found[1][name] - found[0][name] for name in sorted(found[0].keys() & found[1])}
