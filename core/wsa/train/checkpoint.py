"""A training caught between two epochs: sealed, bound to its job, loaded without pickle."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from wsa import storage
from wsa.errors import EnvironmentProblem
from wsa.progress import say
from wsa.train.config import CONDITIONS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from wsa.train.config import TrainConfig
    from wsa.train.goal import Goal
    from wsa.train.outcome import Run
    from wsa.train.split import Split

# Raise it when the layout of a checkpoint changes: older ones are then another job's.
VERSION = 3


def fingerprint(
    features: Tensor,
    labels: Tensor,
    split: Split,
    runs: Sequence[Run],
    goal: Goal,
    config: TrainConfig,
    columns: Sequence[Sequence[int]] | None = None,
) -> str:
    """Return the digest of everything that decides a result, conditions aside."""
    knobs = {key: value for key, value in asdict(config).items() if key not in CONDITIONS}
    job = {
        "version": VERSION,
        "config": knobs,
        "runs": [asdict(run) for run in runs],
        "goal": asdict(goal),
        "columns": columns if columns is None else [list(mine) for mine in columns],
        "features": [list(features.shape), _digest(features)],
        "labels": _digest(labels),
        "split": storage.digest(split.assignment.tobytes()),
    }
    return storage.digest(json.dumps(job, sort_keys=True).encode())


def _digest(tensor: Tensor) -> str:
    array = tensor.cpu().contiguous().flatten().view(torch.uint8).numpy()
    return storage.digest(array.data)


def save(path: Path, job: str, state: dict[str, Any]) -> None:
    """Write the state of a job; a crash leaves this checkpoint or the last one.

    Raises EnvironmentProblem where there is no memory to write it.
    """
    buffer = io.BytesIO()
    try:
        torch.save({"job": job, "state": state}, buffer)
        storage.write_bytes(path, storage.seal(buffer.getvalue()))
    except (MemoryError, RuntimeError) as problem:
        # torch's writer fails on its way out of a MemoryError, with an error of its own
        if not (isinstance(problem, MemoryError) or isinstance(problem.__context__, MemoryError)):
            raise
        raise EnvironmentProblem(
            "there is no memory left to write the training in hand; take fewer --num-runs or a "
            "smaller --hidden-dim, or free memory"
        ) from problem


def load(path: Path, job: str, device: torch.device) -> dict[str, Any] | None:
    """Return the state of a job; None where there is none, or none that can be trusted."""
    try:
        sealed = path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError as problem:
        raise EnvironmentProblem(f"{path} is a directory; remove it") from problem
    payload = storage.unseal(sealed)
    if payload is None:
        _discard(path, "is damaged")
        return None
    content = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    if content["job"] != job:
        _discard(path, "belongs to another job")
        return None
    state: dict[str, Any] = content["state"]
    return state


def _discard(path: Path, reason: str) -> None:
    path.unlink()
    say(f"checkpoint {path} {reason}; it is discarded and the training starts anew")
