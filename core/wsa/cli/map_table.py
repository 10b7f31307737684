"""Layer maps as tables: block x module type where the probes have both, else a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsa.cli.table import figure, task_told

if TYPE_CHECKING:
    from rich.table import Table

BEST = 10  # named under a map


def map_table(task: dict[str, Any]) -> Table:
    """Return what each probe knows on validation, which ranks them, and on test beside it."""
    from rich.table import Table

    probes = task["probes"]
    title = f"{task_told(task)}: {task['primary']} on validation (test)"
    kinds = list(dict.fromkeys(probe["module_type"] for probe in probes))
    blocks = list(dict.fromkeys(probe["block"] for probe in probes))
    places = {(probe["block"], probe["module_type"]): probe for probe in probes}
    table = Table(title=title)
    table.add_column("block")
    for kind in kinds:
        table.add_column(kind or "all layers", justify="right")
    for block in blocks:
        row = (places.get((block, kind)) for kind in kinds)
        table.add_row(block or "all blocks", *(_cell(probe) for probe in row))
    return table


def best_probes(task: dict[str, Any]) -> str:
    """Return the best probes on validation in one line, and what shuffled labels gave."""
    ranked = sorted(task["probes"], key=lambda probe: probe["rank"])
    best = [probe for probe in ranked if probe["val"]["mean"] is not None][:BEST]
    named = ", ".join(f"{probe['probe']} {figure(probe['val']['mean'])}" for probe in best)
    controls = [probe["shuffled"] for probe in ranked if probe["shuffled"] is not None]
    shuffled = figure(max(controls)) if controls else "none trained"
    return f"best on validation: {named}; shuffled labels, the best of all probes: {shuffled}"


def _cell(probe: dict[str, Any] | None) -> str:
    if probe is None:
        return ""
    if probe["val"]["mean"] is None:
        return "diverged"
    return f"{figure(probe['val']['mean'])} ({figure(probe['test']['mean'])})"
