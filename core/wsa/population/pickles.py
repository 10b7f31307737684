"""Pickles: weights in torch's own format, read without running code and kept as safetensors."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from wsa.errors import cause
from wsa.formats.refusal import BadFile, examples, quoted
from wsa.population.discovery import SAFE
from wsa.storage import digest, write_bytes

# How trainers wrap the weights they save.
_WRAPPERS = ("state_dict", "module", "model")


class PickleReader:
    """Converts pickles to files that live as long as this object."""

    def __init__(self) -> None:
        self._left_out: set[str] = set()
        self._folder = Path(tempfile.mkdtemp(prefix="wsa-converted-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def converted(self, path: str) -> Path:
        """Return a safetensors file with the tensors of a pickle, as old as the pickle.

        Only tensors and plain containers are unpickled (`weights_only=True`). Raises BadFile.
        """
        content, beside = _safetensors(path)
        self._left_out.update(beside)
        out = self._folder / f"{digest(path.encode(errors='surrogateescape'))}{SAFE}"
        write_bytes(out, content)
        status = os.stat(path)
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
        return out

    @property
    def notes(self) -> list[str]:
        """Return what lay beside the weights of the pickles converted so far."""
        told = examples(list(self._left_out))
        return [f"left out of pickles, beside their weights: {told}"] if self._left_out else []


def _safetensors(path: str) -> tuple[bytes, list[str]]:
    """Return a pickle's tensors as the bytes of a safetensors file, and what lay beside them."""
    import safetensors.torch
    import torch

    try:
        tensors, beside = _tensors(torch.load(path, map_location="cpu", weights_only=True))
        return safetensors.torch.save(tensors), beside
    except BadFile:
        raise
    except Exception as problem:  # what a damaged or hostile pickle raises has no common type
        raise BadFile(f"torch.load(weights_only=True) refuses it: {_told(problem)}") from problem


def _told(problem: Exception) -> str:
    """Return the cause without torch's advice to read the file with its guard off."""
    lines = [line for line in str(problem).splitlines() if line and "weights_only" not in line]
    return quoted(lines[0]) if isinstance(problem, UnpicklingError) and lines else cause(problem)


def _tensors(found: Any) -> tuple[dict[str, Any], list[str]]:
    """Return tensors by name, unwrapped, and the names of what a trainer kept beside them."""
    beside: list[str] = []
    while (name := _wrapper(found)) is not None:
        beside += [str(other) for other in found if other != name]
        found = found[name]
    if not isinstance(found, dict):
        raise BadFile(f"it holds {quoted(type(found).__name__)}; needed tensors by name")
    if strange := [str(item[0]) for item in found.items() if not _is_named_tensor(item)]:
        raise BadFile(
            f"it holds {examples(strange)}, which are no tensors; needed tensors by name alone, or "
            f"under one of {', '.join(_WRAPPERS)}"
        )
    # tensors may share memory, which safetensors does not store
    return {name: tensor.clone().contiguous() for name, tensor in found.items()}, beside


def _wrapper(found: Any) -> str | None:
    """Return the one name under which a trainer keeps weights, None where there are none beside."""
    if not isinstance(found, dict) or any(map(_is_named_tensor, found.items())):
        return None
    names = [name for name in _WRAPPERS if isinstance(found.get(name), dict)]
    return names[0] if len(names) == 1 else None


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    import torch

    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)
