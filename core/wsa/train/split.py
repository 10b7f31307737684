"""Who trains, who decides when to stop, who is tested: one stratified 70/10/20 split."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wsa.errors import WsaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Labels = NDArray[np.integer[Any]]

PARTS = ("train", "val", "test")
UNUSABLE = -1
FOLDS = 10
# The part of each fold: 0-6 train, 7 val, 8-9 test.
PART_OF_FOLD = np.array([0] * 7 + [1] + [2] * 2, dtype=np.int8)


@dataclass(frozen=True, slots=True)
class Split:
    """The part of each adapter; made once per population and stored with the run."""

    assignment: NDArray[np.int8]  # [N] index into PARTS, or UNUSABLE
    seed: int = 42
    grouped: bool = False

    @property
    def train(self) -> NDArray[np.intp]:
        """The adapters that are trained on."""
        return np.flatnonzero(self.assignment == 0)

    @property
    def val(self) -> NDArray[np.intp]:
        """The adapters that early stopping looks at."""
        return np.flatnonzero(self.assignment == 1)

    @property
    def test(self) -> NDArray[np.intp]:
        """The adapters that no choice looks at."""
        return np.flatnonzero(self.assignment == 2)

    def to_json(self) -> dict[str, Any]:
        """Return the split as JSON holds it."""
        assignment = self.assignment.tolist()
        return {"assignment": assignment, "seed": self.seed, "grouped": self.grouped}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Split:
        """Return the split that `to_json` wrote."""
        assignment = np.array(value["assignment"], dtype=np.int8)
        return cls(assignment, int(value["seed"]), bool(value["grouped"]))


def make_split(
    labels: Labels,
    groups: NDArray[Any] | None,
    digests: Sequence[str],
    usable: NDArray[np.bool_],
    seed: int = 42,
    names: Sequence[str] | None = None,
) -> Split:
    """Split N adapters 70/10/20, stratified by label; no group and no content straddles.

    `digests` are those of the adapters' contents; `names` those of the classes, for messages.
    Raises WsaError where a class cannot be in every part.
    """
    rows = np.flatnonzero(usable)
    _check_classes(labels, rows)
    families = _families(groups, digests)
    grouped = bool(np.unique_counts(families[rows]).counts.max() > 1)
    assignment = np.full(len(labels), UNUSABLE, dtype=np.int8)
    enough = len(np.unique(families[rows])) >= FOLDS
    if enough and Counter(labels[rows].tolist()).most_common(1)[0][1] >= FOLDS:
        assignment[rows] = _parts(labels[rows], families[rows], grouped, seed)
    _check_parts(labels, families, assignment, usable, names)
    return Split(assignment, seed, grouped)


def _parts(
    labels: Labels, families: NDArray[np.intp], grouped: bool, seed: int
) -> NDArray[np.int8]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    folds = kind(n_splits=FOLDS, shuffle=True, random_state=seed)
    parts = np.empty(len(labels), dtype=np.int8)
    with warnings.catch_warnings():
        # A class with fewer than ten adapters is ours to judge: `_check_parts` does.
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, held) in enumerate(folds.split(labels, labels, families)):
            parts[held] = PART_OF_FOLD[fold]
    return parts


def _families(groups: NDArray[Any] | None, digests: Sequence[str]) -> NDArray[np.intp]:
    """Return the connected component of each adapter under equal groups and equal contents."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(digests)
    links = [_codes(digests)] + ([] if groups is None else [_codes(groups.tolist())])
    ends = np.concatenate([code + count * (kind + 1) for kind, code in enumerate(links)])
    starts = np.tile(np.arange(count), len(links))
    size = count * (len(links) + 1)
    graph = coo_array((np.ones(len(ends)), (starts, ends)), shape=(size, size))
    components: NDArray[np.intp] = connected_components(graph, directed=False)[1][:count]
    return components


def _codes(values: Iterable[Any]) -> NDArray[np.intp]:
    """Number equal values alike; a missing value is like no other."""
    codes: dict[Any, int] = {}
    keys = (object() if value is None else value for value in values)
    return np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.intp)


def _check_classes(labels: Labels, rows: NDArray[np.intp]) -> None:
    classes = len(np.unique(labels))
    if classes < 2:
        raise WsaError(
            f"a classifier needs at least two classes; the {len(labels)} labels hold {classes}; "
            "name another column after --label"
        )
    if len(rows) < classes:
        raise WsaError(
            f"a classifier needs at least one usable adapter a class; found {len(rows)} usable "
            f"of {len(labels)} adapters in {classes} classes; add adapters or take another label"
        )


def _check_parts(
    labels: Labels,
    families: NDArray[np.intp],
    assignment: NDArray[np.int8],
    usable: NDArray[np.bool_],
    names: Sequence[str] | None,
) -> None:
    for label in np.unique(labels):
        mine = usable & (labels == label)
        for part, name in enumerate(PARTS):
            if not (mine & (assignment == part)).any():
                called = names[int(label)] if names is not None else str(label)
                raise _missing(name, called, int(mine.sum()), len(set(families[mine].tolist())))


def _missing(part: str, label: str, adapters: int, groups: int) -> WsaError:
    return WsaError(
        f"each part of the split needs every class; {part} has no adapter of class {label!r}, "
        f"which has {adapters} usable adapters in {groups} groups; "
        f"{FOLDS} groups of its own are always enough (adapters of equal content count as one); "
        "add some, or leave the class out"
    )
