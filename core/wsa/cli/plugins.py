"""`wsa plugins`: what is installed, listed without importing any of it; new ones, and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wsa import checking
from wsa.cli import options
from wsa.errors import EXIT_SOME_FAILED, PluginFailure
from wsa.parameters import words

COLUMNS = ("name", "version", "distribution", "representations", "status")

plugins = typer.Typer(invoke_without_command=True, help="List, check and begin plugins.")


@plugins.callback()
def ls(
    context: typer.Context,
    load: Annotated[
        bool, typer.Option("--load", help="Import each: representations, parameters, columns.")
    ] = False,
    json: options.Json = False,
    strict_plugins: options.StrictPlugins = False,
    plugin_timeout: Annotated[
        float, typer.Option(help="Seconds a plugin that is not wsa's may take, with --load.")
    ] = 30.0,
) -> None:
    """List installed plugins; a broken one says why in its status, and with --load the code is 1.

    WSA_PLUGINS=a,b in the environment allows these and no other to be loaded, empty none.
    """
    if context.invoked_subcommand:
        return
    from wsa import listing
    from wsa.storage import to_json

    rows = listing.loaded(plugin_timeout) if load else listing.listed()
    if json:
        print(to_json(rows), end="")
    else:
        _print(rows)
    causes = listing.causes(rows)
    if causes and strict_plugins:
        raise PluginFailure(causes[0])
    if causes and load:
        raise typer.Exit(EXIT_SOME_FAILED)


@plugins.command()
def new(
    name: Annotated[str, typer.Argument(help="The word after --plugins: a-z, 0-9 and _.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write. [wsa-NAME]")] = None,
    kernel: Annotated[
        bool, typer.Option("--kernel", help="With a Triton kernel, its reference and its bench.")
    ] = False,
) -> None:
    """Begin a plugin: a package that pip installs and whose own tests pass."""
    from wsa import scaffold

    print(scaffold.make(name, out, kernel))


@plugins.command()
def check(
    name: Annotated[str, typer.Argument(help="A plugin; NAME(parameter=value) sets one.")],
    dataset: Annotated[
        str | None, typer.Option(help="Also describe the first adapters of a population.")
    ] = None,
    view: Annotated[str, typer.Option(help="factors, delta or both. [all it describes]")] = "",
    device: options.Device = "cpu",
    timeout: Annotated[
        float, typer.Option(help="Seconds for all checks of one representation in one view.")
    ] = checking.SECONDS,
    json: options.Json = False,
) -> None:
    """Hold a plugin's representations to every promise; exit code 1 where one is not kept."""
    from wsa.storage import to_json

    rows = checking.plugin_verdicts(name, dataset, words(view), device, timeout)
    found = []
    for row in rows:
        found.append(row)
        if not json:
            head = f"{row['representation']} {row['view']} {row['check']}"
            print(f"{head}: {row['status']} {row['detail']}".rstrip(), flush=True)
    if json:
        print(to_json(found), end="")
    if any(row["status"] == "failed" for row in found):
        raise typer.Exit(EXIT_SOME_FAILED)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from wsa.cli.table import print_table

    table = Table()
    columns = [name for name in COLUMNS if rows and name in rows[0]]
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(row, name)) for name in columns))
    print_table(table)


def _cell(row: dict[str, Any], name: str) -> str:
    if name == "representations":
        return "\n".join(_told(each) for each in row[name])
    if name == "status":
        return "; ".join([row[name], *row.get("notes", [])])
    return str(row[name])


def _told(representation: dict[str, Any]) -> str:
    """Write `spectral v2 (top: int = 10), factors 40, delta 40 columns a layer`."""
    parameters = ", ".join(f"{name}: {kind}" for name, kind in representation["parameters"].items())
    counts = ", ".join(
        f"{view} {'?' if count is None else f'{count:g}'}"
        for view, count in representation["columns"].items()
    )
    head = f"{representation['name']} v{representation['version']}"
    return f"{head}{f' ({parameters})' if parameters else ''}, {counts} columns a layer"
