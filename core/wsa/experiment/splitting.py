"""Splitting: who trains and who is tested, for every label and every repeated split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wsa.errors import WsaError
from wsa.experiment.labels import strata
from wsa.train import REGRESSION, Split, make_split

if TYPE_CHECKING:
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
