"""Soundness: what only the weights themselves tell, adapters that are not finite or are equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from wsa.experiment.duplicates import tell_copies
from wsa.population.assembly import NOT_FINITE, refuse_not_finite
from wsa.progress import say

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.experiment.labels import Labels
    from wsa.extraction import Extraction


def settle(
    extraction: Extraction, config: RunConfig, labels: Mapping[str, Labels] | None = None
) -> None:
    """Tell what the weights are like, now that all of them have been read or remembered.

    Raises RefusedFiles for files that are not finite, unless bad files may be skipped; those, and
    rows of other sources, are left out of training.
    """
    population = extraction.population
    invalid = (~extraction.valid()).nonzero()[0].tolist()
    if invalid and not extraction.skip_bad:
        refuse_not_finite(population, invalid)
    for row in invalid:
        say(f"adapter {population.name(row)} is left out of training: {NOT_FINITE}")
    tell_copies(extraction, config, labels)


def usable(extraction: Extraction, config: RunConfig, known: np.ndarray) -> np.ndarray:
    """Return which of the adapters that have a label may be trained on or tested, [N] bool."""
    sound: np.ndarray = extraction.valid() & known
    return sound & firsts(extraction.digests(), sound) if config.dedupe else sound


def firsts(digests: list[str], among: np.ndarray) -> np.ndarray:
    """Return which of some adapters are the first of those with equal weights, [N] bool."""
    first = {digests[row]: row for row in among.nonzero()[0].tolist()[::-1]}
    found = np.zeros(len(digests), dtype=bool)
    found[list(first.values())] = True
    return found
