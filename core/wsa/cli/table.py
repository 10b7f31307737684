"""Tables of `wsa run`: results on standard output, what they cost on standard error."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from wsa.progress import amount, clock, say
from wsa.storage import to_json

if TYPE_CHECKING:
    from rich.table import Table

    from wsa.experiment import Summary
    from wsa.experiment.forecast import Forecast

LARGE = 1e6  # told by its exponent


def print_results(summary: Summary, as_json: bool) -> None:
    """Print results as a table representation x layer set, or as JSON."""
    if as_json:
        print(to_json(summary.results), end="")
    else:
        for label in _labels(summary.results):
            print_table(results_table(summary.results, label))
            _print_closing(summary.results, label)
        _print_maps(summary.results)
        for line in [*memory_lines(summary.results), *failed_lines(summary.results)]:
            print(line)
        _print_failures(summary.results)
    _say_cost(summary)


def print_forecast(forecast: Forecast, as_json: bool) -> None:
    """Print the plan of a run: what it would read, write and train, and how long that takes."""
    if as_json:
        print(to_json(forecast.to_json()), end="")
        return
    for line in forecast.lines():
        print(line)


def results_table(results: dict[str, Any], label: str) -> Table:
    """Return a label's primary metric on test, mean +- std; the best on validation first."""
    from rich.table import Table

    rows = [row for row in results["overall"] if row["label"] == label]
    changes = [delta for delta in results["deltas"] if delta["label"] == label]
    sets = list(dict.fromkeys(row["layer_set"] for row in rows if not row["control"]))
    pairs = list(dict.fromkeys((d["layer_set"], _against(d)) for d in changes))
    splits = max((row["splits"] for row in rows), default=1)
    over = "seeds" if splits == 1 else f"{splits} splits"
    name = results["labels"][label]["primary"]
    table = Table(title=f"{label}: test {name}, mean ± std over {over}")
    for heading in ("representation", "view", "head"):
        table.add_column(heading)
    for heading in [*sets, *(f"{one} - {other}" for one, other in pairs), "shuffled"]:
        table.add_column(heading, justify="right")
    for place in _ranked(rows):
        view, representation, head = place
        cells = _cells(_at(rows, place), _at(changes, place), sets, pairs)
        table.add_row(representation, view, head, *cells)
    return table


def _at(rows: list[dict[str, Any]], place: tuple[str, str, str]) -> list[dict[str, Any]]:
    return [row for row in rows if _place(row) == place]


def _place(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["view"], row["representation"], row["head"]


def _cells(
    rows: list[dict[str, Any]],
    changes: list[dict[str, Any]],
    sets: list[str],
    pairs: list[tuple[str, str]],
) -> list[str]:
    found = {row["layer_set"]: row["test"] for row in rows}
    deltas: dict[tuple[str, str], list[float]] = {}
    for each in changes:
        deltas.setdefault((each["layer_set"], _against(each)), []).append(each["mean"])
    shuffled = [row["shuffled"] for row in rows if row["shuffled"] is not None]
    means = {pair: sum(values) / len(values) for pair, values in deltas.items()}
    return [
        *(_spread(found[name]) if name in found else "" for name in sets),
        *(figure(means[pair], "+") if pair in means else "" for pair in pairs),
        figure(sum(shuffled) / len(shuffled)) if shuffled else "",
    ]


def _against(delta: dict[str, Any]) -> str:
    """Name what a layer set is compared with; a random set is of the same size in every view."""
    return "random" if delta["against"].startswith("random:") else str(delta["against"])


def _ranked(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Order (view, representation, head) by the best mean on validation of their layer sets."""
    scores: dict[tuple[str, str, str], float] = {}
    for row in rows:
        score = row["val"]["mean"] if not row["control"] else -float("inf")
        scores[_place(row)] = max(scores.get(_place(row), -float("inf")), score)
    return sorted(scores, key=lambda place: -scores[place])


def _labels(results: dict[str, Any]) -> list[str]:
    trained = {row["label"] for row in results["overall"]}
    return [label for label in results["labels"] if label in trained]


def _print_closing(results: dict[str, Any], label: str) -> None:
    population, about = results["population"], results["labels"][label]
    split, classes = about["split"], len(about["classes"])
    print(
        f"{population['adapters']} adapters{_used(population)}, "
        f"{population['parameters']} parameters each; label {label}, {_guessing(about, classes)}; "
        f"{split['train']} train, {split['val']} val, {split['test']} test"
    )
    for line in [*population["notes"], *_left_out(population["refused"])]:
        print(line)
    told = {task["task"]: task_told(task) for task in results["tasks"]}
    if best := results["best_by_label"][label]:
        print(f"best on validation: {told[best]}")
    for row in results["comparisons"]:
        if row["label"] == label and "@all" in row["task"] and "@all" in row["against"]:
            print(_compared(row, told[row["against"]]))


def _used(population: dict[str, Any]) -> str:
    left_out = population["adapters"] - population["used"]
    return f" ({left_out} of them left out)" if left_out else ""


def _guessing(about: dict[str, Any], classes: int) -> str:
    """Say what naming the commonest class, or the mean, is worth."""
    if not classes:
        return f"numbers; naming their mean: R2 {about['majority']['r2']:.3f}"
    majority = about["majority"]["accuracy"]
    return f"{classes} classes; chance {1 / classes:.3f}, majority {majority:.3f}"


def task_told(task: dict[str, Any]) -> str:
    """Name a task as its plugin is written: its stem has a digest in place of parameters."""
    _, at, place = task["task"].partition("@")
    return f"{task['representation']}{at}{place}"


def _compared(row: dict[str, Any], against: str) -> str:
    value, adapters = row["p_seeds_holm"], f"{row['p_test_adapters_holm']:.2g} over test adapters"
    told = "no p over {}, {}" if value is None else f"p {value:.2g} over {{}}, {{}}"
    difference = f"{figure(row['difference'], '+')}; {told.format(row['over'], adapters)}"
    return f"  over {against}: {difference} (Holm)"


def _print_maps(results: dict[str, Any]) -> None:
    from wsa.cli.map_table import best_probes, map_table
    from wsa.experiment.divergence import counts

    for task in filter(counts, results["maps"]):
        print_table(map_table(task))
        print(best_probes(task))


def memory_lines(results: dict[str, Any]) -> list[str]:
    """Say which tasks were trained otherwise than asked for want of memory."""
    names: dict[str, list[str]] = {}
    for task in [*results["tasks"], *results["maps"]]:
        made = task["conditions"]
        if "batch_size" in made:
            lowered = f"in batches of {made['batch_size']}, as larger ones did not fit the memory"
            names.setdefault(lowered, []).append(task_told(task))
        if "stream" in made:
            streamed = "from features on the host, as the device has no room for them"
            names.setdefault(streamed, []).append(task_told(task))
    return [f"trained {how}: {', '.join(tasks)}" for how, tasks in names.items()]


def failed_lines(results: dict[str, Any]) -> list[str]:
    """Say which seeds failed in tasks that others trained; the rest are failures."""
    from wsa.experiment.divergence import counts, told

    tasks = [task for task in [*results["tasks"], *results["maps"]] if counts(task)]
    return [f"{task_told(task)}: {line}" for task in tasks if (line := told(task))]


def _print_failures(results: dict[str, Any]) -> None:
    for name, problem in results["failures"].items():
        print(f"FAILED {name}: {problem}")
    if results["constant"]:
        print(f"nothing varies, left out: {', '.join(results['constant'])}")


def _left_out(refused: dict[str, str]) -> list[str]:
    if not refused:
        return []
    return [f"{len(refused)} were refused and left out; results.json names them and why"]


def _spread(summary: dict[str, Any]) -> str:
    return f"{figure(summary['mean'])} ± {figure(summary['std'])}"


def figure(value: float, sign: str = "") -> str:
    """Write a figure of a table: R2 of a network that diverged has 38 digits."""
    return f"{value:{sign}.3f}" if abs(value) < LARGE else f"{value:{sign}.2e}"


def _say_cost(summary: Summary) -> None:
    times = ", ".join(f"{stage} {clock(taken)}" for stage, taken in summary.seconds.items())
    host = amount(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    say(f"{times}; peak memory: host {host}{_device_memory()}; cache written {_written(summary)}")
    say(f"results: {summary.folder / 'results.json'}")


def _written(summary: Summary) -> str:
    return amount(summary.extraction.bytes_written)


def _device_memory() -> str:
    import torch

    if not torch.cuda.is_available():
        return ""
    return f", GPU {amount(torch.cuda.max_memory_allocated())}"


def print_table(table: Table, whole: bool = False) -> None:
    """Print a table, at full width where nobody could see that it was cut; `whole`: everywhere."""
    from rich.console import Console

    width = None if Console().is_terminal else 200
    if whole:
        width = Console(width=1000).measure(table).maximum
    # a table cut at 80 columns would lose figures where nobody looks: in a pipe
    Console(width=width).print(table)
