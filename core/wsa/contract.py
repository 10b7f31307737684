"""Contract: what a representation gives back is checked before anything is cached."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter

from wsa import surroundings
from wsa.errors import PluginFailure, Told, cause, printable
from wsa.interruption import from_outside
from wsa.progress import say
from wsa.representation import Column, Representation

if TYPE_CHECKING:
    from wsa.layers import Layers
    from wsa.population.batch import Batch
    from wsa.representation import Composite

# a plugin that names columns without end takes the memory, not only the time
MOST_COLUMNS = 1 << 22
LONGEST_FEATURE = 200
# of whom it has been said that they print
_talkers: set[str] = set()


def held_to_contract(
    representation: Representation | Composite,
    batch: Batch,
    expected: Sequence[Column] | None = None,
    trusted: bool = False,
) -> Tensor:
    """Extract [n, C] features; raises PluginFailure, expected against got, for any breach.

    `expected` are the columns as they were named before. Who is not trusted may not change what
    all share either: torch's settings and random states, or a byte of the batch by any way.
    """
    assert isinstance(representation, Representation)
    columns = named_columns(representation, batch.layers, trusted)
    if expected is not None and columns != list(expected):
        raise PluginFailure(
            f"columns(layers) needs to name the same {len(expected)} columns whenever it is asked, "
            f"got {_other(columns, expected)}"
        )
    if not trusted:
        batch.seal()
    with _guarded(representation, "it", trusted):
        values = representation.extract(batch.lent())
    if not batch.intact(trusted):
        raise PluginFailure("it wrote to the batch, which others read after it: work on a copy")
    _refuse_breach(values, (len(batch), len(columns)), batch)
    return values.detach()


def named_columns(
    representation: Representation, layers: Layers, trusted: bool = False
) -> list[Column]:
    """Return a representation's columns, each of a known layer and none twice."""
    with _guarded(representation, "its columns(layers)", trusted):
        columns = list(islice(representation.columns(layers), MOST_COLUMNS + 1))
    if len(columns) > MOST_COLUMNS:
        raise PluginFailure(f"columns(layers) needs at most {MOST_COLUMNS} columns, got more")
    known = set(layers.names)
    for column in columns:
        # another class of column may answer whatever it likes
        if type(column) is not Column or not _is_known(column.layer, known):
            found = _shown(column)
            raise PluginFailure(f"columns(layers) needs a Column of a known layer, got {found}")
    _refuse_odd_names([column.feature for column in columns])
    if len(set(columns)) != len(columns):
        double = Counter(columns).most_common(1)[0][0]
        raise PluginFailure(f"columns(layers) needs unique columns, got {double.name!r} twice")
    return columns


def _refuse_odd_names(features: Iterable[Any]) -> None:
    """Refuse a feature's name that a table, a file or a terminal could not take."""
    for name in features:
        sound = isinstance(name, str) and name.isprintable() and name.strip() == name != ""
        if not sound or len(name) > LONGEST_FEATURE:
            raise PluginFailure(
                f"columns(layers) needs a feature name, one line of at most {LONGEST_FEATURE} "
                f"characters, got {_shown(name)}"
            )


def _is_known(layer: Any, known: set[str]) -> bool:
    return isinstance(layer, str) and layer in known


def _shown(value: Any) -> str:
    try:
        return printable(repr(value))[:LONGEST_FEATURE]
    except BaseException:  # a stranger's object may fail to tell what it is
        return f"an unreadable {printable(type(value).__name__)}"


@contextmanager
def _guarded(representation: Representation, what: str, trusted: bool) -> Iterator[None]:
    """Name whatever a plugin raises, SystemExit included, and whatever it changed for others.

    What it prints is talk, not a result: said once.
    """
    talk = surroundings.Overheard(sys.stderr)
    try:
        kept = nullcontext(list[str]()) if trusted else surroundings.kept()
        noticed = surroundings.threads_noticed()
        with kept as changed, noticed, surroundings.silent(talk), surroundings.not_ended():
            yield
    except Told:
        raise
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt) and from_outside(problem):
            raise
        raise PluginFailure(f"{what} raised {cause(problem)}") from problem
    if talk.beginning and not trusted:
        _say_printed(printable(str(representation.name)), talk.beginning)
    if changed:
        raise PluginFailure(
            f"{what} changed {', '.join(changed)}, which others compute with; it was put back"
        )


def _say_printed(name: str, beginning: str) -> None:
    if name not in _talkers:
        _talkers.add(name)
        say(
            f"{name} printed {printable(beginning)!r}: standard output is for results, it went here"
        )


def _refuse_breach(values: Any, shape: tuple[int, int], batch: Batch) -> None:
    needed = f"needed float32 {list(shape)} on {batch.device}"
    # another class of tensor may answer whatever it likes
    if type(values) not in (Tensor, Parameter):
        raise PluginFailure(f"{needed}, got {type(values).__name__}")
    if values.layout != torch.strided:
        raise PluginFailure(f"{needed}, got a {values.layout} tensor")
    if values.shape != shape or values.dtype != torch.float32 or values.device != batch.device:
        kind = str(values.dtype).removeprefix("torch.")
        raise PluginFailure(f"{needed}, got {kind} {list(values.shape)} on {values.device}")
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise PluginFailure(
            f"needed finite features, got {values[row, column].item()} in row {row}, "
            f"column {column} of a shard ({len(bad)} in all)"
        )


def _other(columns: Sequence[Column], expected: Sequence[Column]) -> str:
    if len(columns) != len(expected):
        return str(len(columns))
    one, other = next(pair for pair in zip(columns, expected, strict=True) if pair[0] != pair[1])
    return f"{one.name!r} in the place of {other.name!r}"
