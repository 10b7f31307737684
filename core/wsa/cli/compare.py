"""`wsa compare`: two runs, task by task, and a gate for what must not become worse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsa.cli import options
from wsa.errors import EXIT_SOME_FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table


def compare(
    before: Annotated[Path, typer.Argument(help="A run folder.")],
    after: Annotated[Path, typer.Argument(help="Another; the table tells it less the first.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="A change on test that must not be, such as 'accuracy<-0.02'."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Compare two runs by paired tests, over seeds and over test adapters."""
    from wsa.experiment import comparison
    from wsa.storage import to_json

    found = comparison.report(before, after, fail_if or [])
    if json:
        print(to_json(found), end="")
    else:
        failed = map("FAILED {}".format, found["failed"])
        _print(found["tasks"], [*_alone(found["alone"]), *found["representations"], *failed])
    if found["failed"]:
        raise typer.Exit(EXIT_SOME_FAILED)


def _alone(alone: dict[str, list[str]]) -> list[str]:
    places = {"before": "first", "after": "second"}
    names = [(place, task) for run, place in places.items() for task in alone[run]]
    return [f"only the {place} run has {task}" for place, task in names]


def _print(rows: Sequence[dict[str, Any]], told: Sequence[str]) -> None:
    from wsa.cli.table import print_table

    print_table(_table(rows))
    if not all(row["same_split"] for row in rows):
        print("no p-value where the two runs tested other adapters: means may be compared alone")
    for line in told:
        print(line)


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    from rich.table import Table

    from wsa.cli.table import figure

    table = Table(title="test, mean over seeds; p-values paired and corrected by Holm")
    for heading in ("task", "metric"):
        table.add_column(heading)
    for heading in ("before", "after", "change", "p over seeds or splits", "p over test adapters"):
        table.add_column(heading, justify="right")
    for row in rows:
        numbers = [figure(row["before"]), figure(row["after"])]
        change = figure(row["after"] - row["before"], "+")
        values = (row.get("p_seeds_holm"), row.get("p_test_adapters_holm"))
        told = ("" if value is None else f"{value:.2g}" for value in values)
        table.add_row(row["task"], row["metric"], *numbers, change, *told)
    return table
