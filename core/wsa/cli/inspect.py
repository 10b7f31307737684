"""`wsa inspect`: what adapter files are and cover, before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsa.cli import options
from wsa.errors import EXIT_USAGE, WsaError

if TYPE_CHECKING:
    from wsa.formats.adapter import AdapterReader
    from wsa.formats.inspection import Inspected
    from wsa.population.pickles import PickleReader

COLUMNS = ("file", "family", "base model", "modules", "coverage", "rank", "alpha", "scale", "dtype")


def inspect(
    files: Annotated[list[Path], typer.Argument(help="Adapter files, or folders of them.")],
    allow_partial: options.AllowPartial = False,
    split_fused: options.SplitFused = True,
    allow_pickle: options.AllowPickle = False,
    json: options.Json = False,
) -> None:
    """Tell family, base model, modules, ranks, alpha and metadata of adapter files.

    Reads headers and the alphas they point at, and a pickle whole where it is allowed. A file that
    wsa would not take is told with the reason, and the exit code is 2.
    """
    from wsa.formats.adapter import AdapterReader
    from wsa.population.pickles import PickleReader
    from wsa.progress import say
    from wsa.storage import to_json

    reader = AdapterReader(allow_partial, split_fused)
    pickles = PickleReader() if allow_pickle else None
    paths, unreadable = _paths(files)
    rows = [*(_row(path, reader, pickles) for path in paths), *unreadable]
    if json:
        print(to_json([row.to_json() for row in rows]), end="")
    else:
        _print(rows)
    for note in pickles.notes if pickles else ():
        say(note)
    if any(row.refused for row in rows):
        raise typer.Exit(EXIT_USAGE)


def _row(path: Path, reader: AdapterReader, pickles: PickleReader | None) -> Inspected:
    from wsa.formats.inspection import Inspected, inspect
    from wsa.formats.refusal import BadFile
    from wsa.population.discovery import Found
    from wsa.population.members import readable

    try:
        return inspect(path, reader, readable(Found(path.name, str(path)), pickles))
    except BadFile as problem:
        return Inspected(str(path), refused=str(problem))


def _paths(files: list[Path]) -> tuple[list[Path], list[Inspected]]:
    """Return the files to inspect, and a row for every folder that cannot be read."""
    from wsa.formats.inspection import Inspected
    from wsa.population.discovery import find_files

    for path in files:
        if not path.exists():
            raise WsaError(f"nothing to inspect at {path}: needed files or folders that exist")
    searched = [(path, *find_files(path)) for path in files]
    found = [Path(each.path) for _, inside, _ in searched for each in inside]
    lost = [(path / each.name, each.reason) for path, _, refused in searched for each in refused]
    strange = [path for path in files if path.is_file() and path not in found]
    if not found and not strange and not lost:
        raise WsaError(f"no adapter file below {', '.join(map(str, files))}")
    return [*found, *strange], [Inspected(str(path), refused=reason) for path, reason in lost]


def _print(rows: list[Inspected]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from wsa.cli.table import print_table

    table = Table()
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for row in rows:
        if not row.refused:
            table.add_row(*(escape(cell) for cell in _cells(row)))
    if table.row_count:
        print_table(table)
    for row in rows:
        for line in _lines(row):
            print(line)


def _cells(row: Inspected) -> list[str]:
    from wsa.formats.refusal import shown

    return [
        shown(row.file),
        f"{row.family}: {', '.join(row.kinds)}",
        row.base_model,
        str(row.modules),
        f"{row.keys - len(row.skipped)} of {row.keys} keys",
        *(_range(values) for values in (row.ranks, row.alphas, row.scales)),
        ", ".join(row.dtypes),
    ]


def _range(values: tuple[Any, ...]) -> str:
    if len(values) > 4:
        return f"{values[0]:g} to {values[-1]:g} ({len(values)} values)"
    return ", ".join(f"{value:g}" for value in values)


def _lines(row: Inspected) -> list[str]:
    """Return what no column has room for: reasons, notes, what is skipped, metadata."""
    from wsa.formats.refusal import examples, quoted, shown

    name = shown(row.file)
    if row.refused:
        return [f"REFUSED {name}: {row.refused}"]
    said = [f"{name}: base model {row.base_model}: {row.reason}"]
    said += [f"{name}: {note}" for note in row.notes]
    if row.skipped:
        said.append(f"{name}: left out: {examples(row.skipped)}")
    told = [f"{key}={quoted(value)}" for key, value in row.metadata]
    return [*said, *([f"{name}: metadata {', '.join(told)}"] if told else [])]
