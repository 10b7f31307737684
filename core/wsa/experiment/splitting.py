"""Splitting: who trains and who is tested, for every label and every repeated split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wsa.errors import WsaError
from wsa.experiment.labels import strata
from wsa.storage import canonical_digest
from wsa.train import REGRESSION, Split, make_split

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from wsa.experiment.labels import Labels

SPLIT_SEED = 42
# Bins of a number that a split is stratified by: fewer where groups leave no other way.
BINS = (10, 5, 2)

Splits = dict[tuple[str, int], Split]  # by label and repeat


def split_labels(
    labels: Labels, digests: Sequence[str], usable: np.ndarray, repeat: int = 0
) -> Split:
    """Split the usable adapters by class, group and content, always in the same way."""
    seed = SPLIT_SEED + repeat
    if labels.kind != REGRESSION:
        try:
            return make_split(labels.codes, labels.groups, digests, usable, seed, labels.classes)
        except WsaError as problem:
            raise WsaError(f"label {labels.name!r}: {problem}") from problem
    if len(labels.classes) < 2:
        raise WsaError(
            f"a regression needs labels that vary; all of {labels.name!r} are "
            f"{labels.classes[0].split()[0]}; name another column after --label"
        )
    for bins in BINS:
        codes, names = strata(labels.values, labels.known, bins)
        try:
            return make_split(codes, labels.groups, digests, usable, seed, names)
        except WsaError:
            if bins == BINS[-1]:
                raise
    raise AssertionError("the last of the bins returns or raises")


@dataclass(frozen=True)
class Splitting:
    """What decides the splits of a run: labels, groups, contents, and who may be used."""

    labels: Mapping[str, Labels]
    digests: list[str]
    usable: Mapping[str, np.ndarray]  # [N] bool by label
    repeats: int

    def made(self, path: Path) -> Splits:
        """Return the splits that a run's file holds, where these decided them; else make them.

        scikit-learn, which makes them, takes 1.2 s to import: a third of a run with nothing to do.
        """
        try:
            stored = json.loads(path.read_text())
        except (OSError, ValueError):
            stored = {}
        if stored.get("inputs") == self.digest:
            return self._read(stored)
        return {
            (name, repeat): split_labels(each, self.digests, self.usable[name], repeat)
            for name, each in self.labels.items()
            for repeat in range(self.repeats)
        }

    def to_json(self, splits: Splits) -> dict[str, Any]:
        """Return the splits, and what decided them."""
        return splits_json(splits) | {"inputs": self.digest}

    @cached_property
    def digest(self) -> str:
        """Return one digest of all that decides the splits."""
        told = [
            [name, each.kind, each.codes.tolist(), each.values.tolist(), self.usable[name].tolist()]
            for name, each in self.labels.items()
        ]
        groups = [each.groups for each in self.labels.values()]
        families = [each if each is None else each.tolist() for each in groups]
        return canonical_digest([told, families, self.digests, self.repeats, SPLIT_SEED])

    def _read(self, stored: dict[str, Any]) -> Splits:
        several = stored.get("splits")
        if several is None:
            return {(next(iter(self.labels)), 0): Split.from_json(stored)}
        return {(each["label"], each["repeat"]): Split.from_json(each) for each in several}


def splits_json(splits: Splits) -> dict[str, Any]:
    """Return the first split as it always was, and under `splits` all of them, where several."""
    first = next(iter(splits.values())).to_json()
    if len(splits) == 1:
        return first
    each = [
        {"label": label, "repeat": repeat} | split.to_json()
        for (label, repeat), split in splits.items()
    ]
    return first | {"splits": each}
