"""Invariance: what a representation says its features do not know, they do not know.

The changes are exact in fp32, so that a difference is never the input's rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsa.conformance.breach import NothingToCheck, refuse, refuse_difference
from wsa.conformance.probe import Change
from wsa.conformance.subject import Subject
from wsa.layers import DELTA

TOLERANCE = 1e-4
GROWTH = 4.0


def declared_invariances_hold(subject: Subject) -> str:
    """Features do not know what `invariances` says: `scale`, `gauge` or `permutation`."""
    declared = tuple(getattr(subject.representation, "invariances", ()))
    for name in declared:
        known = name in CHANGES
        refuse(not known, f"invariances of {', '.join(CHANGES)}", repr(name))
    held = [name for name in declared if name != "gauge" or subject.view == DELTA]
    if not held:
        raise NothingToCheck("none is declared for this view")
    for name in held:
        found = subject.features(subject.probe.changed(CHANGES[name][0]))
        refuse_difference(found, subject.usual, subject.columns(), CHANGES[name][1], TOLERANCE)
    return ", ".join(held)


def scaled(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply every weight by 4."""
    return up * GROWTH, down * GROWTH


def permuted(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Put outputs, inputs and directions into another order."""
    outputs, rank, inputs = (_order(size) for size in (*up.shape[1:], down.shape[2]))
    return up[:, outputs][:, :, rank], down[:, rank][:, :, inputs]


def gauged(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Mix the directions: down -> G down, up -> up G^-1, with G whole numbers and halves."""
    rank = up.shape[2]
    shear = torch.eye(rank) + torch.diag(torch.ones(rank - 1), 1)
    sizes = torch.tensor([2.0, 0.5, -1.0]).repeat(rank)[:rank]
    mix = (shear * sizes).double()
    left, right = up.double() @ torch.linalg.inv(mix), mix @ down.double()
    return left.to(up.dtype), right.to(up.dtype)


def _order(size: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(size))


CHANGES: dict[str, tuple[Change, str]] = {
    "scale": (scaled, "with every weight times 4, as invariances says 'scale'"),
    "gauge": (gauged, "with other factors of the same update, as invariances says 'gauge'"),
    "permutation": (permuted, "with rows and columns permuted, as invariances says 'permutation'"),
}
