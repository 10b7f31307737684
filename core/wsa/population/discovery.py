"""Discovery: the adapter files below a folder, each once, whatever links and names it holds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsa.formats.refusal import Refused

SAFE = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# What trainers leave beside the weights they save.
_NO_WEIGHTS = re.compile(r"(optimizer|scheduler|scaler|training_args|rng_state|random_states).*")


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may hold an adapter; `name` is its path below the folder."""

    name: str
    path: str

    @property
    def is_pickle(self) -> bool:
        """Tell whether reading it would need an unpickler."""
        return self.path.lower().endswith(PICKLES)


# The adapter files below a folder, and the folders that cannot be entered.
Listing = tuple[list[Found], list[Refused]]


def find_files(root: Path) -> Listing:
    """Return the adapter files below a folder by name, and the folders that cannot be entered.

    A pickle beside a safetensors file of the same stem is another copy of it.
    """
    refused: list[Refused] = []
    files = [root] if root.is_file() else list(_walk(root, refused))
    base = root.parent if root.is_file() else root
    found = [Found(_relative(path, base), str(path)) for path in files if _may_hold(path)]
    safe = {os.path.splitext(each.name)[0] for each in found if not each.is_pickle}
    kept = [f for f in found if not f.is_pickle or os.path.splitext(f.name)[0] not in safe]
    return sorted(kept, key=lambda each: each.name), refused


def _walk(root: Path, refused: list[Refused]) -> Iterator[Path]:
    """Yield files below a folder; a folder reached twice, through links, is entered once."""

    def unreadable(problem: OSError) -> None:
        name = _relative(Path(str(problem.filename)), root)
        refused.append(Refused(name, f"this folder cannot be read: {problem.strerror}"))

    entered: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, followlinks=True, onerror=unreadable):
        try:
            status = os.stat(folder)
        except OSError as problem:
            unreadable(problem)
            below.clear()
            continue
        if (status.st_dev, status.st_ino) in entered:
            below.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _may_hold(path: Path) -> bool:
    if path.suffix.lower() == SAFE:
        return True
    return path.suffix.lower() in PICKLES and not _NO_WEIGHTS.fullmatch(path.name)


def _relative(path: Path, base: Path) -> str:
    # bytes that are no UTF-8 are told, not lost: labels and messages need text
    return os.fsencode(path.relative_to(base)).decode("utf-8", "backslashreplace")
