"""Source: from the word after `--dataset` to a population, whatever holds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wsa import zoo
from wsa.errors import EnvironmentProblem, WsaError, cause
from wsa.population.assembly import file_population
from wsa.population.discovery import PICKLES, SAFE, Listing, find_files
from wsa.population.hub import from_hub, load
from wsa.population.packed import is_packed, packed_population
from wsa.population.reading import EVERYTHING, Reading
from wsa.population.tables import table_population

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from wsa.population.population import Population

HUB_NAMES = {
    "1k": "jacekduszenko/lora-ws-1k",
    "10k": "jacekduszenko/lora-ws-10k",
    "50k": "jacekduszenko/lora-ws-50k",
    "100k": "jacekduszenko/lora-ws-100k",
    "small": "jacekduszenko/weights-dataset-small",
}


def open_population(name: str, reading: Reading = EVERYTHING) -> Population:
    """Open the population a name stands for: files, a packed store, a table, a zoo or a hub id.

    Reads headers, a manifest, or the first row of a table. Raises WsaError for anything else.
    """
    path = Path(name).expanduser()
    _refuse_unreachable(path)
    if is_packed(path):
        if reading.label_from is not None:
            raise _only_files(name, "a packed store")
        return packed_population(path, reading.limit)
    listing = _adapter_files(path)
    if listing is not None:
        return file_population(path, listing, reading)
    if reading.label_from is not None:
        raise _only_files(name, "a table")
    return table_population(open_dataset(name), name, reading.limit, reading.num_workers)


def _refuse_unreachable(path: Path) -> None:
    try:
        locked = path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
    except OSError as problem:
        raise EnvironmentProblem(f"{path} cannot be reached: {problem.strerror}") from problem
    if locked:
        raise EnvironmentProblem(f"{path} cannot be read: needed the right to list and enter it")


def _adapter_files(path: Path) -> Listing | None:
    """Return what one walk of a folder finds; None where it holds no adapter files."""
    if path.is_file():
        return find_files(path) if path.suffix.lower() in (SAFE, *PICKLES) else None
    if not path.is_dir() or (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return None
    found, refused = find_files(path)
    # a folder that cannot be entered is told as one, unless there are tables to read
    told = found or (refused and not any(path.glob("**/*.parquet")))
    return (found, refused) if told else None


def _only_files(name: str, kind: str) -> WsaError:
    return WsaError(
        f"--label-from reads labels of adapter files; {name} is {kind} with label columns of its "
        f"own: leave it out, and name one of them after --label"
    )


def open_dataset(name: str) -> Dataset:
    """Open a zoo, a folder, Parquet or a hub id; `NAME#SPLIT` takes one split of several.

    Without a split named, all of them are concatenated. Raises WsaError for anything else.
    """
    if "#" not in name or Path(name).expanduser().exists():
        return _one_split(_locate(name), "", name)
    where, _, split = name.rpartition("#")
    return _one_split(_locate(where), split, where)


def _locate(where: str) -> Dataset | DatasetDict:
    if where in zoo.NAMED:
        return _from_folder(zoo.cached(where))
    path = Path(where).expanduser()
    if path.exists():
        return _from_path(path)
    if where in HUB_NAMES or _is_hub_id(where):
        return from_hub(HUB_NAMES.get(where, where))
    known = ", ".join([*zoo.NAMED, *HUB_NAMES])
    raise WsaError(
        f"no data set {where!r}: needed one of {known}, a folder or file that exists, "
        f"or a hub id OWNER/NAME (no folder may be called OWNER here)"
    )


def _is_hub_id(where: str) -> bool:
    """Tell whether a name asks the hub; in a folder that exists a name was mistyped."""
    owner, _, name = where.partition("/")
    plain = bool(owner and name) and "/" not in name and not owner.startswith((".", "~"))
    return plain and not Path(owner).exists()


def _from_path(path: Path) -> Dataset | DatasetDict:
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return _from_folder(path)
    files = sorted(path.glob("**/*.parquet")) if path.is_dir() else [path]
    if not files or any(file.suffix != ".parquet" for file in files):
        raise WsaError(
            f"{path} is no population: needed adapter files, a folder written by datasets' "
            f"save_to_disk, or Parquet files"
        )
    return load("parquet", data_files=[str(file) for file in files])


def _from_folder(path: Path) -> Dataset | DatasetDict:
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except IndexError as problem:
        # what `datasets` raises for a table without rows
        raise WsaError(f"{path} holds a data set or split without adapters; remove it") from problem
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise WsaError(f"cannot read the data set folder {path}: {cause(problem)}") from problem


def _one_split(found: Dataset | DatasetDict, split: str, where: str) -> Dataset:
    import datasets

    if not isinstance(found, datasets.DatasetDict):
        if split:
            raise WsaError(f"{where} has no splits, so none called {split!r}; leave out #{split}")
        return found
    if split and split not in found:
        raise WsaError(f"{where} has no split {split!r}; it has {', '.join(found)}")
    if split:
        return found[split]
    filled = [part for part in found.values() if len(part)] or list(found.values())[:1]
    if len({tuple(sorted(part.column_names)) for part in filled}) > 1:
        raise WsaError(f"{where}: its splits differ in columns; name one of them with #SPLIT")
    return datasets.concatenate_datasets(filled)
