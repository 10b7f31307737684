"""Coupling: how what a module writes to and what it reads hang together, from its two factors.

Of a module with D = scale up down (never formed), e_i the energy of row i of D, f_j of column j:

    profile_cosine = cosine of the output and the input profile: the root-mean-square norms of G
        equal contiguous groups of rows and of as many groups of columns, G = groups, or fewer
        where a side is shorter: both profiles have one length, whatever the shape
    left_spread = (sum e)^2 / (rows sum e^2): 1 where all rows carry as much, 1 / rows where one
        carries all
    right_spread = the same of f and the columns
    spread_ratio = ln(left_spread / right_spread)
    spectra_cosine = cosine of the singular values of up and of down, both in falling order
    alignment = tr(A B) / (|A| |B|) with A = up^T up and B = down down^T: 1 where the directions
        that up writes strongly are those that down reads strongly

Everything is free of scale, and 0 of a module that is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsa import columns_of, hookimpl
from wsa_kernels.delta import Factored, factored
from wsa_kernels.gram import eigenvalues, gram
from wsa_kernels.layerwise import Part, gathered
from wsa_kernels.matrices import Delta
from wsa_kernels.reductions import column_total, ratio, total
from wsa_plugins.profiles import profile

if TYPE_CHECKING:
    from torch import Tensor

    from wsa import Batch, Column, Layers, Representation
    from wsa_kernels.matrices import Matrices

FEATURES = (
    *("profile_cosine", "left_spread", "right_spread", "spread_ratio"),
    *("spectra_cosine", "alignment"),
)


@dataclass(frozen=True)
class Coupling:
    """How a module's output side and input side go together."""

    groups: int = 32  # of rows, and of columns, in a profile

    name = "coupling"
    version = 1
    views = ("delta",)
    invariances = ("scale",)

    def __post_init__(self) -> None:
        if self.groups < 2:
            raise ValueError(f"groups needs at least 2; got {self.groups}")

    def columns(self, layers: Layers) -> list[Column]:
        """Name the six columns of each module."""
        return columns_of(layers, FEATURES)

    def extract(self, batch: Batch) -> Tensor:
        """Map n adapters to [n, M * 6]."""
        return batch.once(couplings, self.groups).flatten(1).float()


def couplings(matrices: Matrices, groups: int, backend: str | None = None) -> Tensor:
    """Return the six features of every module, [N, M, 6]."""
    assert isinstance(matrices, Delta)
    parts = (
        Part(each.adapters, each.modules, _described(each, groups)) for each in factored(matrices)
    )
    (found,) = gathered(matrices, parts, (len(FEATURES),))
    return found


def _described(part: Factored, groups: int) -> Tensor:
    """Map equally shaped modules to their features, [B, 6]."""
    rows, columns = total(part.left().square()), column_total(part.right().square())
    count = min(groups, part.rows, part.cols)
    left, right = _spread(rows), _spread(columns)
    apart = (left.masked_fill(left == 0, 1.0) / right.masked_fill(right == 0, 1.0)).log()
    grams = gram(part.up.mT.contiguous()), gram(part.down)
    lengths = part.rows, part.cols
    spectra = [eigenvalues(g, n).sqrt() for g, n in zip(grams, lengths, strict=True)]
    found = (
        *(_cosine(profile(rows, count), profile(columns, count)), left, right, apart),
        *(_cosine(*spectra), _cosine(grams[0].flatten(1), grams[1].flatten(1))),
    )
    return torch.stack(found, -1)


def _spread(energy: Tensor) -> Tensor:
    """Return the share of a side that carries its energy, [B, m] -> [B]."""
    # of shares: the square of an energy may outgrow, or vanish from, what a float holds
    shares = ratio(energy, energy.amax(-1, keepdim=True))
    return ratio(total(shares).square(), energy.shape[-1] * total(shares.square()))


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine of [B, m] with [B, m], 0 where either is zero."""
    one, other = (ratio(each, each.abs().amax(-1, keepdim=True)) for each in (one, other))
    norms = total(one.square()).sqrt() * total(other.square()).sqrt()
    return ratio(total(one * other), norms)


@hookimpl
def wsa_representations() -> list[Representation]:
    """Offer one representation."""
    return [Coupling()]
