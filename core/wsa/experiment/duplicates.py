"""Duplicates: adapters with equal weights, told apart by nothing but their names and labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wsa.progress import say
from wsa.train import PARTS

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.experiment.labels import Labels
    from wsa.extraction import Extraction
    from wsa.train import Split

NAMED = 3  # pairs named in a message; results.json names all


def copies(digests: Sequence[str]) -> list[list[int]]:
    """Return the rows of every group of adapters with equal weights, the first of each first."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        groups[digest].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def tell_copies(
    extraction: Extraction, config: RunConfig, labels: Mapping[str, Labels] | None = None
) -> None:
    """Say how many adapters copy another's weights, and which copies have other labels."""
    found, name = copies(extraction.digests()), extraction.population.name
    if not found:
        return
    pairs = [f"{name(row)} those of {name(rows[0])}" for rows in found for row in rows[1:]]
    groups = f", in {len(found)} groups," if len(found) > 1 else ""
    told = f"{len(pairs)} adapters copy another one's weights{groups} ({_few(pairs)})"
    say(f"{told}; each is {_fate(config, labels)}")
    for each in (labels or {}).values():
        differing = [rows for rows in found if len(set(_values(each, rows))) > 1]
        values = [
            f"{name(row)} is {value}"
            for rows in differing
            for row, value in zip(rows, _values(each, rows), strict=True)
        ]
        if differing:
            say(
                f"equal weights have different labels {each.name!r} in {len(differing)} groups "
                f"({_few(values)}): no classifier can tell them apart"
            )


def _fate(config: RunConfig, labels: Mapping[str, Labels] | None) -> str:
    if labels is None:
        return "kept"  # features alone are of all adapters, and go to no split
    return "left out" if config.dedupe else "kept on one side of the split; --dedupe drops it"


def duplicate_groups(
    extraction: Extraction, config: RunConfig, labels: Mapping[str, Labels], split: Split
) -> list[dict[str, Any]]:
    """Return every group of adapters with equal weights: who is in it, kept, dropped, and where.

    The first split says: `part` is the side that all kept ones are on, None where none is used.
    `labels` holds the labels that differ, one value an adapter.
    """
    names = extraction.population.identifiers
    return [
        {
            "adapters": [names[row].as_py() for row in rows],
            "dropped": [names[row].as_py() for row in _unused(split, rows)]
            if config.dedupe
            else [],
            "part": next(_parts(split, rows), None),
            "labels": _differing(labels, rows),
        }
        for rows in copies(extraction.digests())
    ]


def _parts(split: Split, rows: Sequence[int]) -> Iterator[str]:
    return (PARTS[part] for part in split.assignment[rows].tolist() if part >= 0)


def _unused(split: Split, rows: Sequence[int]) -> list[int]:
    return [row for row in rows if split.assignment[row] < 0]


def _differing(labels: Mapping[str, Labels], rows: Sequence[int]) -> dict[str, list[str | None]]:
    found = {name: _values(each, rows) for name, each in labels.items()}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _values(labels: Labels, rows: Sequence[int]) -> list[str | None]:
    return [labels.text(row) for row in rows]


def _few(told: Sequence[str]) -> str:
    return ", ".join(told[:NAMED]) + (", ..." if len(told) > NAMED else "")
