"""`wsa plugins`: what is installed, listed without importing any of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsa.cli import options

if TYPE_CHECKING:
    from wsa.registry import Plugin


def plugins(
    load: Annotated[
        bool, typer.Option("--load", help="Import each one: representations, versions, status.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List installed plugins."""
    from wsa import registry
    from wsa.storage import to_json

    rows = [asdict(plugin) | (_loaded(plugin) if load else {}) for plugin in registry.installed()]
    if json:
        print(to_json(rows), end="")
        return
    _print(rows)


def _loaded(plugin: Plugin) -> dict[str, Any]:
    from wsa import registry
    from wsa.errors import PluginFailure

    try:
        offers = registry.load(plugin)
    except PluginFailure as problem:
        return {"representations": [], "status": str(problem)}
    found = [f"{offer.name} v{offer.representation.version}" for offer in offers]
    return {"representations": found, "status": "ok"}


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from wsa.cli.table import print_table

    table = Table()
    for name in rows[0] if rows else ():
        table.add_column(name)
    for row in rows:
        cells = (", ".join(v) if isinstance(v, list) else str(v) for v in row.values())
        table.add_row(*(escape(cell) for cell in cells))
    print_table(table)
