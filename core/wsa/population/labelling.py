"""Labelling: labels for adapter files, from a table beside them, their folders or metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa

from wsa.errors import WsaError, cause
from wsa.formats.refusal import Refused, examples, quoted
from wsa.population.discovery import PICKLES, SAFE

if TYPE_CHECKING:
    from wsa.population.members import Member
    from wsa.population.reading import Reading

TABLES = ("labels.csv", "labels.parquet", "labels.jsonl")
# What the column may be called that says which adapter a row is of.
NAMES = ("path", "file", "file_name", "filename", "name", "adapter", "adapter_name", "id")
ADAPTER = "adapter"
FOLDER, METADATA = "folder", "metadata:"


@dataclass(frozen=True)
class Labelled:
    """One row of labels for every member, and what was wrong with them."""

    table: pa.Table  # [N]; without labels, the adapters' names alone
    refused: list[Refused]
    notes: Sequence[str] = ()


def metadata_key(reading: Reading) -> str | None:
    """Return the metadata entry that labels are read from; raises WsaError for another source."""
    source = reading.label_from
    if source is None or source == FOLDER:
        return None
    key = source.removeprefix(METADATA)
    if key == source or not key:
        raise WsaError(f"--label-from needs folder or metadata:KEY; got {source!r}")
    return key


def label(
    members: Sequence[Member], root: Path, reading: Reading, everyone: Sequence[str]
) -> Labelled:
    """Give every member its labels; those that are missing are null.

    `everyone` names all files that were found: a table may label those that are not members. Where
    `root` is one file, the table beside it may label any others too: it was asked for alone.
    Raises WsaError where there is no source of labels to read, or several.
    """
    names = pa.array([member.name for member in members], pa.string())
    if reading.label_from is None:
        return _from_table(names, root, everyone)
    values = [_value(member, reading.label_from) for member in members]
    missing = [m.name for m, value in zip(members, values, strict=True) if value is None]
    table = pa.table({ADAPTER: names, reading.label: _typed(values)})
    reason = f"it has no {reading.label_from!r} to read a label from"
    return Labelled(table, [Refused(name, reason) for name in missing])


def _value(member: Member, source: str) -> str | None:
    if source != FOLDER:
        return member.metadata
    parents = PurePosixPath(member.name).parent.parts
    return parents[0] if parents else None


def _typed(values: Sequence[str | None]) -> pa.Array:
    """Return texts as whole numbers or floats where all of them are."""
    texts = pa.array(values, pa.string())
    for kind in (pa.int64(), pa.float64()):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return texts


def _from_table(names: pa.Array, source: Path, everyone: Sequence[str]) -> Labelled:
    root = source if source.is_dir() else source.parent
    path = _table_beside(root)
    if path is None:
        return Labelled(pa.table({ADAPTER: names}), [])
    table = _read(path)
    column = _names_column(table, path)
    called = [_below(str(each), root) for each in table.column(column).to_pylist()]
    found, strangers = _matched(everyone, called, path.name)
    rows = [found.get(name) for name in names.to_pylist()]
    lost = [name for name, row in zip(names.to_pylist(), rows, strict=True) if row is None]
    refused = [Refused(name, f"{path.name} has no row for it") for name in lost]
    chosen = table.drop_columns([column]).take(pa.array(rows, pa.int64()))
    if ADAPTER in chosen.column_names:
        chosen = chosen.drop_columns([ADAPTER])
    chosen = chosen.add_column(0, ADAPTER, names)
    if strangers and root == source:
        told = f"it names adapters that are not there: {examples(strangers)}"
        return Labelled(chosen, [Refused(path.name, told), *refused])
    notes = [f"{path.name} names other adapters too: {examples(strangers)}"] if strangers else []
    return Labelled(chosen, refused, notes)


def _table_beside(root: Path) -> Path | None:
    present = [root / name for name in TABLES if (root / name).is_file()]
    if len(present) > 1:
        told = ", ".join(path.name for path in present)
        raise WsaError(f"{root} has several tables of labels ({told}); keep one of them")
    return present[0] if present else None


def _names_column(table: pa.Table, path: Path) -> str:
    """Return the column that says which adapter a row is of."""
    found = next((name for name in NAMES if name in table.column_names), None)
    if found is None:
        raise WsaError(
            f"{path} needs a column that names the adapter ({', '.join(NAMES)}); found "
            f"{', '.join(table.column_names)}"
        )
    return found


def _read(path: Path) -> pa.Table:
    from pyarrow import parquet

    readers = {".csv": _read_csv, ".parquet": parquet.read_table, ".jsonl": _read_lines}
    try:
        table: pa.Table = readers[path.suffix](path)
    except (OSError, ValueError, AttributeError, RecursionError, pa.ArrowException) as problem:
        raise WsaError(f"cannot read the labels in {path}: {cause(problem)}") from problem
    unreadable = [each.name for each in table.schema if pa.types.is_binary(each.type)]
    if unreadable:
        raise WsaError(f"cannot read the labels in {path}: {quoted(unreadable[0])} is not UTF-8")
    return table


def _read_csv(path: Path) -> pa.Table:
    from pyarrow import csv

    # a name is a text, whatever it looks like: 0029 is no 29; an empty cell is no class
    names = dict.fromkeys(NAMES, pa.string())
    return csv.read_csv(
        path, convert_options=csv.ConvertOptions(column_types=names, strings_can_be_null=True)
    )


def _read_lines(path: Path) -> pa.Table:
    # Arrow's own reader takes a name such as 2024-01-01 for a time
    lines = path.read_text("utf-8-sig").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as problem:
            raise ValueError(f"line {number}: {problem}") from problem
    return pa.Table.from_pylist(rows)


def _matched(
    names: Sequence[str], told: Sequence[str], where: str
) -> tuple[dict[str, int], list[str]]:
    """Return the table's row of every file by name, and the names that are nobody's.

    Raises WsaError for a name that is several files', or that is there twice.
    """
    places = _places(names)
    rows: dict[str, int] = {}
    strangers = []
    for row, each in enumerate(told):
        owners = places.get(_trimmed(each), set())
        if len(owners) > 1:
            told = examples(sorted(owners))
            raise WsaError(f"{where} names {each!r}, which may be {told}; name each by its path")
        if not owners:
            strangers.append(each)
        elif rows.keys() & owners:
            raise WsaError(f"{where} names {each!r} twice; an adapter needs one row")
        rows |= dict.fromkeys(owners, row)
    return rows, strangers


def _places(names: Sequence[str]) -> Mapping[str, set[str]]:
    """Return the files by every name that a table may call them; a path is one file's alone."""
    found: dict[str, set[str]] = {}
    for name in names:
        path = PurePosixPath(_trimmed(name))
        # peft and diffusers name every file alike: the folder is the adapter's name there
        for each in {str(path), path.name, str(path.parent), path.parent.name} - {"", "."}:
            found.setdefault(each, set()).add(name)
    return found | {_trimmed(name): {name} for name in names}


def _trimmed(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    known = suffix.lower() in (SAFE, *PICKLES)
    return (stem if known else name).removeprefix("./").rstrip("/")


def _below(name: str, root: Path) -> str:
    """Return a path below the folder, where a table names it from the root of the disk."""
    return os.path.relpath(name, root.absolute()) if os.path.isabs(name) else name
