"""Stamp: what results were written from; while that is as it was, they stand as they are."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsa.storage import canonical_digest, digest, to_json
from wsa_kernels.compilation import problem

if TYPE_CHECKING:
    from wsa.experiment.folder import RunFolder

RESULTS = "results.json"
STAMP = "stamp.json"
# their numbers stand in results, beside those of the tasks' files
_LIBRARIES = ("numpy", "scipy")


@dataclass(frozen=True)
class Stamp:
    """All that results are written from: what is told of the run, and the tasks' files."""

    told: Sequence[Any]
    proofs: dict[str, str | None]  # of each task's file, in order; None where it is not done

    def standing(self, folder: RunFolder) -> dict[str, Any] | None:
        """Return the results that lie in a folder, where the same would be written again.

        None where a task is not done, or a file is not, to the byte, as it was left.
        """
        stored = _parsed(folder.read(STAMP))
        files = stored.get("files")
        if not isinstance(files, dict):
            return None
        found = {name: folder.read(name) for name in (RESULTS, *files)}
        untouched = {name: proof(payload) for name, payload in found.items()} == files
        # only a run that is whole leaves a stamp
        if not untouched or stored.get("inputs") != self._inputs:
            return None
        return _parsed(found[RESULTS])

    def write(self, folder: RunFolder, files: dict[str, str]) -> None:
        """Write results and, where every task is done, last of all what they were written from."""
        for name, text in files.items():
            folder.write(name, text)
        if None not in self.proofs.values():
            proofs = {name: proof(text.encode()) for name, text in files.items()}
            folder.write(STAMP, to_json({"files": proofs, "inputs": self._inputs}))

    @property
    def _inputs(self) -> str:
        proofs = list(self.proofs.items())
        return canonical_digest([self.told, proofs, problem(), _code()])


def proof(payload: bytes | None) -> str | None:
    """Return the digest of a file's bytes; None where there is no file."""
    return None if payload is None else digest(payload)


def _code() -> list[str]:
    """Tell which code merges: a version alone would not say what was edited in a checkout."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    versions = [importlib.metadata.version(name) for name in _LIBRARIES]
    return versions + [digest(each.read_bytes()) for each in files]


def _parsed(payload: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(payload or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
