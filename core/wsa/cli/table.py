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


def print_results(summary: Summary, as_json: bool) -> None:
    """Print results as a table representation x layer set, or as JSON."""
    if as_json:
        print(to_json(summary.results), end="")
    else:
        print_table(results_table(summary.results))
        _print_closing(summary.results)
    _say_cost(summary)


def print_forecast(forecast: Forecast, as_json: bool) -> None:
    """Print the plan of a run: what it would read, write and train, and how long that takes."""
    if as_json:
        print(to_json(forecast.to_json()), end="")
        return
    for line in forecast.lines():
        print(line)


def results_table(results: dict[str, Any]) -> Table:
    """Return test accuracy, mean +- std over seeds; the best on validation first."""
    from rich.table import Table

    sets = list(dict.fromkeys(t["layer_set"] for t in results["tasks"] if not t["control"]))
    pairs = list(dict.fromkeys((d["layer_set"], _against(d)) for d in results["deltas"]))
    table = Table(title="test accuracy, mean ± std over seeds")
    for heading in ("representation", "view"):
        table.add_column(heading)
    for heading in [*sets, *(f"{one} - {other}" for one, other in pairs), "shuffled"]:
        table.add_column(heading, justify="right")
    for view, representation in _ranked(results["tasks"]):
        table.add_row(representation, view, *_cells(results, (view, representation), sets, pairs))
    return table


def _cells(
    results: dict[str, Any],
    row: tuple[str, str],
    sets: list[str],
    pairs: list[tuple[str, str]],
) -> list[str]:
    tasks = [task for task in results["tasks"] if (task["view"], task["representation"]) == row]
    found = {task["layer_set"]: task["summary"]["test"]["accuracy"] for task in tasks}
    deltas = {
        (each["layer_set"], _against(each)): each["summary"]["mean"]
        for each in results["deltas"]
        if (each["view"], each["representation"]) == row
    }
    shuffled = [run["test"]["accuracy"] for task in tasks for run in task["shuffled"]]
    return [
        *(_spread(found[name]) if name in found else "" for name in sets),
        *(f"{deltas[pair]:+.3f}" if pair in deltas else "" for pair in pairs),
        f"{sum(shuffled) / len(shuffled):.3f}",
    ]


def _against(delta: dict[str, Any]) -> str:
    """Name what a layer set is compared with; a random set is of the same size in every view."""
    return "random" if delta["against"].startswith("random:") else str(delta["against"])


def _ranked(tasks: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Order (view, representation) by the best mean validation accuracy of their layer sets."""
    scores: dict[tuple[str, str], float] = {}
    for task in tasks:
        place = (task["view"], task["representation"])
        score = task["summary"]["val"]["accuracy"]["mean"]
        scores[place] = max(scores.get(place, 0.0), score if not task["control"] else 0.0)
    return sorted(scores, key=lambda place: -scores[place])


def _print_closing(results: dict[str, Any]) -> None:
    population, classes = results["population"], len(results["population"]["classes"])
    split = population["split"]
    print(
        f"{population['adapters']} adapters, {population['parameters']} parameters each; label "
        f"{population['label']}, {classes} classes; chance {1 / classes:.3f}, majority "
        f"{results['controls']['majority']:.3f}; {split['train']} train, {split['val']} val, "
        f"{split['test']} test"
    )
    for line in [*population["notes"], *_left_out(population["refused"])]:
        print(line)
    if results["best"]:
        print(f"best on validation: {results['best']}")
    for name, problem in results["failures"].items():
        print(f"FAILED {name}: {problem}")


def _left_out(refused: dict[str, str]) -> list[str]:
    if not refused:
        return []
    return [f"{len(refused)} files were refused and left out; results.json names them and why"]


def _spread(summary: dict[str, Any]) -> str:
    return f"{summary['mean']:.3f} ± {summary['std']:.3f}"


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
