"""`wsa cache`: what is kept, whether it is sound, why a run would hit or miss, and clearing."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsa.cli import options
from wsa.errors import EXIT_SOME_FAILED, WsaError
from wsa.progress import amount

if TYPE_CHECKING:
    from wsa.cache import Cache

cache = typer.Typer(no_args_is_help=True, help="Look into the feature cache, check it, clear it.")


@cache.command("ls")
def ls(cache_dir: options.CacheDir = None, json: options.Json = False) -> None:
    """List what is kept: one row per representation, version and view."""
    from wsa.storage import to_json

    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _, record in _open(cache_dir).records():
        inputs = record["inputs"]
        names = ("representation", "version", "view", "distribution")
        row = rows.setdefault(
            tuple(inputs[name] for name in names),
            {name: inputs[name] for name in names} | {"entries": 0, "adapters": 0, "bytes": 0},
        )
        row["entries"] += 1
        row["adapters"] += record["shape"][0]
        row["bytes"] += record["bytes"]
    if json:
        print(to_json(list(rows.values())), end="")
        return
    for _, row in sorted(rows.items()):
        print(
            f"{row['representation']} v{row['version']} {row['view']}: {row['entries']} entries, "
            f"{row['adapters']} adapters, {amount(row['bytes'])}, by {row['distribution']}"
        )
    total = sum(row["bytes"] for row in rows.values())
    print(f"{sum(row['entries'] for row in rows.values())} entries, {amount(total)}")
    compiled = _compiled_bytes(cache_dir)
    if compiled:
        print(f"and {amount(compiled)} of compiled code; prune --all removes it too")


@cache.command()
def verify(cache_dir: options.CacheDir = None) -> None:
    """Read every entry and prove it; what fails is set aside, and the exit code is 1."""
    store = _open(cache_dir)
    sound = sum(store.read(key) is not None for key, _ in store.records())
    print(f"{sound} entries sound, {store.quarantined} set aside")
    if store.quarantined:
        raise typer.Exit(EXIT_SOME_FAILED)


@cache.command()
def prune(
    cache_dir: options.CacheDir = None,
    older_than: Annotated[float | None, typer.Option(help="Remove entries older, in days.")] = None,
    max_bytes: Annotated[
        int | None, typer.Option(help="Remove the oldest until this many bytes are left.")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Remove every entry.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove entries by age or size, and what was set aside as damaged."""
    if not all and older_than is None and max_bytes is None:
        raise WsaError("wsa cache prune needs --older-than DAYS, --max-bytes N or --all")
    store = _open(cache_dir)
    records = sorted(store.records(), key=lambda item: item[1]["written"])
    doomed = _doomed(records, 0.0 if all else older_than, max_bytes)
    freed = sum(record["bytes"] for _, record in doomed)
    compiled = _compiled_bytes(cache_dir) if all else 0
    if not dry_run:
        for key, _ in doomed:
            store.remove(key)
        store.empty_quarantine()
        if all:
            store.clear()
            _remove_compiled(cache_dir)
    print(f"{'would remove' if dry_run else 'removed'} {len(doomed)} entries, {amount(freed)}")
    if compiled:
        print(f"and {amount(compiled)} of compiled code")


@cache.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Say for every representation of a run whether it would hit, and for a miss, why."""
    from wsa.experiment.explanation import explain as explain_run
    from wsa.storage import to_json

    rows = explain_run(run, cache_dir)
    if json:
        print(to_json(rows), end="")
        return
    for row in rows:
        reason = f": {row['reason']}" if row["reason"] else ""
        print(f"{row['representation']} {row['view']}: {row['hits']}/{row['shards']} hit{reason}")


def _doomed(
    records: list[tuple[str, dict[str, Any]]], days: float | None, max_bytes: int | None
) -> list[tuple[str, dict[str, Any]]]:
    """Choose what goes, the oldest first."""
    left = sum(record["bytes"] for _, record in records)
    limit = None if days is None else time.time() - days * 86400
    doomed = []
    for key, record in records:
        too_old = limit is not None and record["written"] <= limit
        too_much = max_bytes is not None and left > max_bytes
        if too_old or too_much:
            doomed.append((key, record))
            left -= record["bytes"]
    return doomed


def _compiled_bytes(cache_dir: Path | None) -> int:
    """Count the code beside the per-user cache; a cache elsewhere has none of its own."""
    from wsa.cache import compiled_code_dir

    if cache_dir is not None:
        return 0
    return sum(path.lstat().st_size for path in compiled_code_dir().rglob("*") if path.is_file())


def _remove_compiled(cache_dir: Path | None) -> None:
    from wsa.cache import compiled_code_dir

    if cache_dir is None and compiled_code_dir().is_dir():
        shutil.rmtree(compiled_code_dir())


def _open(cache_dir: Path | None) -> Cache:
    from wsa.cache import Cache, default_cache_dir

    return Cache(cache_dir or default_cache_dir())
