"""Pickles: weights in torch's own format, read without running code and kept as safetensors."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from wsa.errors import cause
from wsa.formats.refusal import BadFile, quoted
from wsa.storage import digest

# How trainers wrap the weights they save.
_WRAPPERS = ("state_dict", "module", "model")


class PickleReader:
    """Converts pickles to files that live as long as this object."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="wsa-converted-")

    def converted(self, path: str) -> Path:
        """Return a safetensors file with the tensors of a pickle, as old as the pickle.

        Only tensors and plain containers are unpickled (`weights_only=True`). Raises BadFile.
        """
        import safetensors.torch

        tensors = _tensors(path)
        out = Path(self._folder.name) / f"{digest(path.encode())}.safetensors"
        safetensors.torch.save_file(tensors, out)
        status = os.stat(path)
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
        return out


def _tensors(path: str) -> dict[str, Any]:
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # what a damaged or hostile pickle raises has no common type
        raise BadFile(f"torch.load(weights_only=True) refuses it: {cause(problem)}") from problem
    while isinstance(found, dict) and len(found) == 1 and (name := next(iter(found))) in _WRAPPERS:
        found = found[name]
    if not isinstance(found, dict) or not all(map(_is_named_tensor, found.items())):
        raise BadFile(f"it holds {quoted(type(found).__name__)}; needed tensors by name")
    # tensors may share memory, which safetensors does not store
    return {str(name): tensor.clone().contiguous() for name, tensor in found.items()}


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
    import torch

    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)
