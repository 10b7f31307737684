"""Overall: tasks over their repeated splits, and how far they lie apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.experiment.divergence import counted, trained
from wsa.experiment.uncertainty import corrected, over_adapters, over_draws, over_seeds
from wsa.train import summarise

if TYPE_CHECKING:
    from wsa.experiment.splitting import Splits

    Result = dict[str, Any]

KEY = ("label", "view", "representation", "layer_set", "head")


def overall(tasks: Sequence[Result]) -> list[Result]:
    """Return one row for each task over all its splits: its primary metric, val and test."""
    groups: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for task in tasks:
        groups[key_of(task)].append(task)
    return [_row(group) for group in groups.values()]


def key_of(task: Result) -> tuple[Any, ...]:
    """Return what a task is called, whichever split it was trained on."""
    return tuple(task[name] for name in KEY)


def best(rows: Sequence[Result], label: str) -> str | None:
    """Name the task with the highest mean on validation; the test part has no say."""
    candidates = [row for row in rows if not row["control"] and row["label"] == label]
    if not candidates:
        return None
    return str(max(candidates, key=lambda row: row["val"]["mean"])["task"])


def deltas(tasks: Sequence[Result]) -> Iterator[Result]:
    """Compare each layer set with `all`, paired by seed, and with its random control, on test."""
    places = {(*key_of(task), task["repeat"]): task for task in tasks}
    for (*rest, layer_set, head, repeat), task in places.items():
        if task["control"] or layer_set == "all":
            continue
        for other in ("all", f"random:{task['layers']}"):
            against = places.get((*rest, other, head, repeat))
            if against is not None and other != layer_set:
                yield _delta(task, against)


def comparisons(
    tasks: Sequence[Result], splits: Splits, bests: dict[str, str | None]
) -> list[Result]:
    """Test representations and layer sets in pairs, on test; p-values are Holm's, by label.

    The best on validation is tested against every other, and each layer set against `all` and its
    random control: over seeds, and, which is another question, over test adapters.
    """
    groups: dict[tuple[Any, ...], list[Result]] = defaultdict(list)
    for task in tasks:
        groups[key_of(task)].append(task)
    chosen = [same_splits(groups[one], groups[other]) for one, other in _pairs(groups, bests)]
    rows = [_compared(pairs, splits) for pairs in chosen if pairs]
    for label in bests:
        corrected([row for row in rows if row["label"] == label])
    return rows


def _pairs(
    groups: dict[tuple[Any, ...], list[Result]], bests: dict[str, str | None]
) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    found: dict[tuple[Any, Any], None] = {}
    for key, tasks in groups.items():
        label, view, representation, layer_set, head = key
        if tasks[0]["task"] == bests.get(label):
            rivals = (k for k in groups if k[0] == label and not groups[k][0]["control"])
            found |= {(key, other): None for other in rivals if other != key}
        if tasks[0]["control"] or layer_set == "all":
            continue
        for other_set in ("all", f"random:{tasks[0]['layers']}"):
            other = (label, view, representation, other_set, head)
            if other in groups and other != key and (other, key) not in found:
                found[key, other] = None
    return list(found)


def _compared(pairs: Sequence[tuple[Result, Result]], splits: Splits) -> Result:
    one, other = zip(*pairs, strict=True)
    metric = one[0]["primary"]
    seeds = [seed_differences(mine, against, metric) for mine, against in pairs]
    sizes = [splits[mine["label"], mine["repeat"]] for mine, _ in pairs]
    share = float(np.mean([len(s.test) / (len(s.test) + len(s.train)) for s in sizes]))
    adapters = scores_by_adapter(one, splits), scores_by_adapter(other, splits)
    rows = sorted(adapters[0].keys() & adapters[1].keys())
    apart = np.array([adapters[0][row] - adapters[1][row] for row in rows])
    return {
        "label": one[0]["label"],
        "task": one[0]["task"],
        "against": other[0]["task"],
        "metric": metric,
        "difference": mean_of(one, metric) - mean_of(other, metric),
        "seeds": sum(len(each) for each in seeds),
        "splits": len(pairs),
        "test_adapters": len(rows),
        "over": "splits" if len(pairs) > 1 else "seeds",  # what p_seeds is over
        "p_seeds": _p_seeds(pairs, seeds, share),
        "p_test_adapters": over_adapters(apart),
    }


def _p_seeds(
    pairs: Sequence[tuple[Result, Result]], differences: Sequence[list[float]], share: float
) -> float | None:
    one, other = pairs[0]
    if len(pairs) > 1 or not other["control"]:
        return over_seeds(differences, share)
    return over_draws(scores(one, one["primary"]), scores(other, one["primary"]))


def scores_by_adapter(tasks: Sequence[Result], splits: Splits) -> dict[int, float]:
    """Return each test adapter's score, over the splits that tested it."""
    found: dict[int, list[float]] = defaultdict(list)
    for task in tasks:
        rows = splits[task["label"], task["repeat"]].test.tolist()
        for row, value in zip(rows, task["per_adapter"], strict=True):
            found[row].append(value)
    return {row: sum(values) / len(values) for row, values in found.items()}


def same_splits(one: Sequence[Result], other: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Pair two tasks' results by split; of a split in which no seed trained there is none."""
    theirs = {task["repeat"]: task for task in other}
    return [(task, theirs[task["repeat"]]) for task in one if task["repeat"] in theirs]


def seed_differences(one: Result, other: Result, metric: str) -> list[float]:
    """Return the test difference of each seed that counts in both.

    A metric that is not defined counts as 0. From a random control it is that from the mean of its
    draws, which have seeds of their own.
    """
    if other["control"]:
        drawn = mean_of([other], metric)
        return [score - drawn for score in scores(one, metric)]
    both = zip(one["runs"], other["runs"], strict=False)
    pairs = [pair for pair in both if all(map(trained, pair))]
    return [(a["test"][metric] or 0.0) - (b["test"][metric] or 0.0) for a, b in pairs]


def scores(task: Result, metric: str) -> list[float]:
    """Return a metric on test of every seed that counts."""
    return [run["test"][metric] or 0.0 for run in counted(task["runs"])]


def mean_of(tasks: Sequence[Result], metric: str) -> float:
    """Return the mean of a metric on test over all seeds and splits."""
    return float(np.mean([score for task in tasks for score in scores(task, metric)]))


def _row(group: Sequence[Result]) -> Result:
    first = group[0]
    names = ("task", *KEY, "kind", "primary", "control", "layers")
    controls = [run for task in group for run in counted(task["shuffled"])]
    shuffled = [run["test"][first["primary"]] or 0.0 for run in controls]
    return {
        **{name: first[name] for name in names},
        "splits": len(group),
        "shuffled": sum(shuffled) / len(shuffled) if shuffled else None,
        **{part: _over(group, part) for part in ("val", "test")},
    }


def _over(group: Sequence[Result], part: str) -> Result:
    """Summarise seeds; over several splits, the means of their seeds."""
    metric = group[0]["primary"]
    seeds = [[run[part][metric] or 0.0 for run in counted(task["runs"])] for task in group]
    if len(group) == 1:
        return summarise(seeds[0]) | {"over": "seeds"}
    return summarise([float(np.mean(each)) for each in seeds]) | {"over": "splits"}


def _delta(task: Result, against: Result) -> Result:
    metric = task["primary"]
    differences = seed_differences(task, against, metric)
    return {
        **{name: task[name] for name in (*KEY, "repeat")},
        "against": against["layer_set"],
        "metric": metric,
        "split": "test",
        "per_seed": differences,
        "mean": mean_of([task], metric) - mean_of([against], metric),
        "summary": summarise(differences) | {"over": "seeds"},
    }
