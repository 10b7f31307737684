"""Folder: a zoo on disk, whole or not at all, and sure of the recipe it was made by."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsa.errors import WsaError, differences
from wsa.storage import private_directory, refusals, to_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from wsa.zoo.recipe import Identified

RECORD = "recipe.json"
_PARTIAL = ".zoo-partial-"


def holds(destination: Path, recipe: Identified) -> bool:
    """Tell whether a folder already holds this zoo.

    Raises WsaError where there is anything else but an empty folder.
    """
    if not destination.exists() or _is_empty(destination):
        return False
    found = _recorded(destination)
    if found == recipe.identity():
        return True
    what = "a file" if destination.is_file() else "a folder that no zoo was saved in"
    if found is not None:
        what = f"a zoo of another recipe ({', '.join(differences(found, recipe.identity()))})"
    raise WsaError(
        f"cannot make a zoo in {destination}: found {what}; remove it or name another folder"
    )


@contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """Yield a folder beside the destination that becomes it when all went well.

    Raises EnvironmentProblem, before any work is done, where nothing can be written there.
    """
    private_directory(destination.parent)
    prefix = f"{_PARTIAL}{destination.name}-"
    with refusals(destination):
        partial = Path(tempfile.mkdtemp(prefix=prefix, dir=destination.parent))
    try:
        yield partial
        with refusals(destination):
            os.replace(partial, destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write(table: pa.Table, record: dict[str, Any], folder: Path) -> None:
    """Write a population and the record of its making as a `datasets` folder."""
    import datasets
    from datasets.table import InMemoryTable

    features = datasets.Features.from_arrow_schema(table.schema)
    info = datasets.DatasetInfo(description=to_json(record), features=features)
    with refusals(folder), _without_bars():
        datasets.Dataset(InMemoryTable(table), info=info).save_to_disk(folder)
        write_json(folder / RECORD, record)
        for path in folder.iterdir():
            _flush(path)


@contextmanager
def alone(destination: Path) -> Iterator[None]:
    """Wait for other processes at work on a destination, and clear what killed ones left."""
    from filelock import FileLock

    lock = FileLock(destination.with_name(f"{destination.name}.lock"))
    with refusals(destination):
        lock.acquire()
    try:
        for stale in destination.parent.glob(f"{_PARTIAL}{destination.name}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield
    finally:
        lock.release()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _without_bars() -> Iterator[None]:
    """Silence the bars of `datasets`, which know nothing of terminals, and restore them."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _recorded(destination: Path) -> dict[str, Any] | None:
    """Return the recipe that a folder was made by, or None where it is no zoo."""
    try:
        record = json.loads((destination / RECORD).read_text())
    except (OSError, ValueError):
        return None
    found = record.get("recipe") if isinstance(record, dict) else None
    return found if isinstance(found, dict) else None
