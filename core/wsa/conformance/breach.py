"""Breach: a promise that was not kept, told as expected against got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsa.errors import PluginFailure

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.representation import Column

# differences are shares of a column's greatest value; below this one a value is nothing
SMALLEST_SCALE = 1e-9


class Breach(PluginFailure):
    """A representation does not keep what every one promises."""


class NothingToCheck(Exception):
    """A check does not apply here; the message says why."""


def refuse(broken: bool, expected: object, got: object) -> None:
    """Raise Breach where a promise is broken."""
    if broken:
        raise Breach(f"expected {expected}, got {got}")


def refuse_difference(
    found: Tensor, expected: Tensor, columns: Sequence[Column], when: str, tolerance: float = 0.0
) -> None:
    """Raise Breach where two answers [n, C] differ by more than a share of a column's scale.

    Without a tolerance every byte counts.
    """
    refuse(found.shape != expected.shape, f"{list(expected.shape)} {when}", list(found.shape))
    difference = (found.double() - expected.double()).abs()
    scale = expected.double().abs().amax(0).clamp(min=SMALLEST_SCALE)
    excess = difference / scale - tolerance  # [n, C]
    if not len(excess) or float(excess.max()) <= 0:
        return
    row, column = divmod(int(excess.argmax()), excess.shape[1])
    wrong = int((excess > 0).any(0).sum())
    raise Breach(
        f"expected {expected[row, column].item():.7g} for {columns[column].name} of adapter {row} "
        f"{when}, got {found[row, column].item():.7g} ({wrong} of {len(columns)} columns differ)"
    )
