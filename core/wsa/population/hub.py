"""Hub: data sets loaded by the library that owns them, and the one place that asks a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from wsa.errors import EnvironmentProblem, WsaError, cause
from wsa.progress import say

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# `datasets` tries an unreachable hub for 27 s, and a resolver alone may take 20.
HUB_SECONDS = 3.0


def from_hub(hub_id: str) -> Dataset | DatasetDict:
    """Load a data set of the hub, or the copy that is kept of it where the hub cannot be reached.

    Raises WsaError where the hub has no such data set, EnvironmentProblem where there is no copy
    of it either; that is known within some `HUB_SECONDS`.
    """
    say(f"asking the hub for data set {hub_id!r}")
    problem = _unreached(hub_id)
    if problem is None:
        return load(hub_id)
    try:
        with _offline():
            return load(hub_id)
    except WsaError as missing:
        raise EnvironmentProblem(
            f"no folder {hub_id!r} is here, and the hub cannot be reached ({problem}), nor was the "
            f"data set loaded before: mend the path, or download it once and pass the folder"
        ) from missing


def load(builder: str, **options: Any) -> Dataset | DatasetDict:
    """Load by `datasets`, which counts no download: for a local file too it would ask a server."""
    import datasets

    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        return datasets.load_dataset(builder, **options)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        raise WsaError(f"{builder}: {cause(problem)}") from problem


def _unreached(hub_id: str) -> str | None:
    """Say why the hub does not answer, None where it does; raises WsaError for an unknown name."""
    # what `datasets` stands on
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    found: list[Exception | None] = []

    def ask() -> None:
        try:
            HfApi().dataset_info(hub_id, timeout=HUB_SECONDS)
        except Exception as problem:  # those of the network have no common type
            found.append(problem)
        else:
            found.append(None)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_SECONDS)
    answer = found[0] if found else TimeoutError(f"no answer within {HUB_SECONDS:g} s")
    if isinstance(answer, HFValidationError | RepositoryNotFoundError):
        raise WsaError(
            f"no folder {hub_id!r} is here, and the hub has no such data set, or shows it not to "
            f"you; mend the name"
        ) from answer
    return cause(answer) if answer else None


@contextmanager
def _offline() -> Iterator[None]:
    import datasets

    before, datasets.config.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
