"""Inspection: what a file is and covers, as one row, before anything is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsa.formats.adapter import AdapterFile, AdapterReader, Module
from wsa.formats.base_model import base_model
from wsa.formats.reading import sound_alphas
from wsa.formats.refusal import BadFile


@dataclass(frozen=True)
class Inspected:
    """One file in words and numbers; `refused` says why it is not read, where it is not."""

    file: str
    refused: str | None = None
    family: str = ""
    base_model: str = ""
    reason: str = ""
    kinds: tuple[str, ...] = ()
    modules: int = 0
    keys: int = 0
    skipped: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    alphas: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    dtypes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def coverage(self) -> float:
        """Return the share of the file's keys that are read."""
        return 0.0 if self.refused else 1 - len(self.skipped) / max(1, self.keys)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        listed = {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}
        return {**listed, "coverage": self.coverage, "metadata": dict(self.metadata)}


def inspect(path: Path, reader: AdapterReader, converted: Path | None = None) -> Inspected:
    """Describe one file from its header and the alphas it stores.

    Of a file in another format it is `converted` that is read.
    """
    try:
        return _row(path, reader.describe(converted or path, path))
    except BadFile as problem:
        return Inspected(str(path), refused=str(problem))
    except OSError as problem:  # it was there when its header was read
        return Inspected(str(path), refused=f"it cannot be read: {problem.strerror}")


def _row(path: Path, file: AdapterFile) -> Inspected:
    form, alphas = file.form, sound_alphas(file)
    guess = base_model(form.shapes, file.header.metadata)
    tensors = form.structure.tensors
    paired = [module for module in form.modules if not module.is_dense]
    return Inspected(
        file=str(path),
        family=form.family,
        base_model=guess.name,
        reason=guess.reason,
        kinds=_distinct(module.kind.name for module in form.modules),
        modules=len(form.modules),
        keys=len(tensors),
        skipped=form.skipped,
        ranks=_distinct(m.extent.rank for m in paired if m.extent.rank is not None),
        alphas=_distinct([*alphas.values(), *_configured(paired)]),
        scales=_distinct(_scale(module, alphas) for module in paired),
        dtypes=tuple(name for name, _ in Counter(t.dtype for t in tensors.values()).most_common()),
        notes=form.notes,
        metadata=tuple(sorted(file.header.metadata.items())),
    )


def _scale(module: Module, alphas: dict[str, float]) -> float:
    if module.scale.key is None:
        return module.scale.value
    return alphas[module.name] / module.scale.divisor


def _configured(modules: Iterable[Module]) -> list[float]:
    return [each.scale.alpha for each in modules if each.scale.alpha is not None]


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(set(values)))
