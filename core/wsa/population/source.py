"""Source: from the word after `--dataset` to a population, whatever holds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsa import zoo
from wsa.errors import EnvironmentProblem, WsaError, cause
from wsa.population.assembly import file_population
from wsa.population.discovery import PICKLES, SAFE, find_files
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
    if is_packed(path):
        return packed_population(path, reading.limit)
    if _holds_files(path):
        return file_population(path, reading)
    return table_population(open_dataset(name), name, reading.limit, reading.num_workers)


def _holds_files(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (SAFE, *PICKLES)
    if not path.is_dir() or (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return False
    found, refused = find_files(path)
    # a folder that cannot be entered is told as one, unless there are tables to read
    return bool(found) or bool(refused and not any(path.glob("**/*.parquet")))


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
    if where in HUB_NAMES or (where.count("/") == 1 and not where.startswith((".", "/", "~"))):
        return _from_hub(HUB_NAMES.get(where, where))
    known = ", ".join([*zoo.NAMED, *HUB_NAMES])
    raise WsaError(
        f"no data set {where!r}: needed one of {known}, a folder or file that exists, "
        f"or a hub id OWNER/NAME"
    )


def _from_path(path: Path) -> Dataset | DatasetDict:
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        return _from_folder(path)
    files = sorted(path.glob("**/*.parquet")) if path.is_dir() else [path]
    if not files or any(file.suffix != ".parquet" for file in files):
        raise WsaError(
            f"{path} is no population: needed adapter files, a folder written by datasets' "
            f"save_to_disk, or Parquet files"
        )
    return _load("parquet", data_files=[str(file) for file in files])


def _from_folder(path: Path) -> Dataset | DatasetDict:
    import datasets

    try:
        return datasets.load_from_disk(str(path))
    except IndexError as problem:
        # what `datasets` raises for a table without rows
        raise WsaError(f"{path} holds a data set or split without adapters; remove it") from problem
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise WsaError(f"cannot read the data set folder {path}: {cause(problem)}") from problem


def _from_hub(hub_id: str) -> Dataset | DatasetDict:
    try:
        return _load(hub_id)
    except WsaError as problem:
        raise EnvironmentProblem(
            f"cannot load {hub_id!r} from the hub ({problem}); download it once and pass the folder"
        ) from problem


def _load(builder: str, **options: Any) -> Dataset | DatasetDict:
    import datasets

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(builder, **options)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        raise WsaError(f"{builder}: {cause(problem)}") from problem


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
