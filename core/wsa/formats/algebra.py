"""Algebra: every kind of update as one pair of factors, D = up @ down, without forming D.

A Hadamard product of two products is a product of rank r1 r2 (Khatri-Rao), a Kronecker product of
two products one of rank r1 r2 too (mixed-product rule); a Tucker core goes into `down`. Only where
the rank would pass the smaller side is anything multiplied out. Shapes as LyCORIS and peft store
them; a convolution's kernel belongs to the input side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsa.formats.refusal import BadFile

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Extent:
    """An update's size: [rows, cols], the width of its factors, and what its file calls r."""

    rows: int
    cols: int
    width: int
    rank: int | None  # None: the scale has no rank to divide by


class LowRank:
    """LoRA and LoCon: up [out, r, 1...] and down [r, in, k...], or down [r, in, 1...] and mid."""

    name = "lora"
    required, optional = frozenset({"up", "down"}), frozenset({"mid"})

    def extent(self, shapes: Shapes) -> Extent:
        """Return the update's size; raises BadFile where the shapes do not chain."""
        up, down = shapes["up"], shapes["down"]
        chained = min(len(up), len(down)) >= 2 and up[1] == down[0] and math.prod(up[2:]) == 1
        kernel = down[2:]
        if "mid" in shapes and chained:
            mid, kernel = shapes["mid"], shapes["mid"][2:]
            chained = mid[:2] == (up[1], up[1]) and math.prod(down[2:]) == 1
        _need(chained, shapes, "up [out, r], down [r, in]")
        return Extent(up[0], down[1] * math.prod(kernel), up[1], up[1])

    def factors(self, stored: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return up [n, out, r] and down [n, r, in k...]: views, unless there is a core."""
        up, down = stored["up"].flatten(2), stored["down"].flatten(2)
        if "mid" in stored:
            down = _cored(stored["mid"], down)
        return up, down


class Embedding:
    """peft's LoRA of an embedding: the update of the table [entries, dim] is (B A)^T."""

    name = "lora"
    required, optional = frozenset({"embedding_up", "embedding_down"}), frozenset[str]()

    def extent(self, shapes: Shapes) -> Extent:
        """Return the update's size; raises BadFile where the shapes do not chain."""
        up, down = shapes["embedding_up"], shapes["embedding_down"]
        chained = len(up) == len(down) == 2 and up[1] == down[0]
        _need(chained, shapes, "embedding_B [dim, r], embedding_A [r, entries]")
        return Extent(down[1], up[0], up[1], up[1])

    def factors(self, stored: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return up [n, entries, r] and down [n, r, dim]."""
        return stored["embedding_down"].mT, stored["embedding_up"].mT


class Hadamard:
    """LoHa: (w1_a w1_b) o (w2_a w2_b), or with Tucker cores t1, t2 (w_a then stored transposed)."""

    name = "loha"
    required = frozenset({"w1_a", "w1_b", "w2_a", "w2_b"})
    optional = frozenset({"t1", "t2"})

    def extent(self, shapes: Shapes) -> Extent:
        """Return the update's size; raises BadFile where the shapes do not chain."""
        one, other = (_product_extent(shapes, f"w{i}", f"t{i}") for i in "12")
        _need(one[:2] == other[:2], shapes, "two products of one shape")
        rows, cols, _ = one
        return Extent(rows, cols, min(one[2] * other[2], rows, cols), one[2])

    def factors(self, stored: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the row-wise and column-wise Khatri-Rao products, or the update and a unit."""
        (up1, down1), (up2, down2) = (_product(stored, f"w{i}", f"t{i}") for i in "12")
        if up1.shape[2] * up2.shape[2] >= min(up1.shape[1], down1.shape[2]):
            return _with_unit((up1 @ down1) * (up2 @ down2))
        up = (up1.unsqueeze(3) * up2.unsqueeze(2)).flatten(2)
        return up, (down1.unsqueeze(2) * down2.unsqueeze(1)).flatten(1, 2)


class Kronecker:
    """LoKr: kron(w1, w2), each stored whole or as a product, w2 with a Tucker core t2 at will."""

    name = "lokr"
    required = frozenset[str]()
    optional = frozenset({"w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2"})

    def extent(self, shapes: Shapes) -> Extent:
        """Return the update's size; raises BadFile where the shapes do not chain."""
        (a, b, first), (c, d, second) = _half_extent(shapes, "1"), _half_extent(shapes, "2")
        # the rank is that of the second half, of the first where the second is whole (LyCORIS)
        rank = second or first
        return Extent(a * c, b * d, _width(a, b, first) * _width(c, d, second), rank)

    def factors(self, stored: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the Kronecker products of the halves' factors."""
        (up1, down1), (up2, down2) = _half(stored, "1"), _half(stored, "2")
        return _kron(up1, up2), _kron(down1, down2)


class Dense:
    """A matrix of a plain network: a vector is one row, a convolution [out, in k...]."""

    name = "dense"
    required, optional = frozenset({"dense"}), frozenset[str]()

    def extent(self, shapes: Shapes) -> Extent:
        """Return the matrix's size; it has no rank."""
        shape = shapes["dense"]
        rows = shape[0] if len(shape) > 1 else 1
        return Extent(rows, math.prod(shape) // rows, 0, None)


Kind = LowRank | Embedding | Hadamard | Kronecker | Dense
KINDS: tuple[Kind, ...] = (LowRank(), Embedding(), Hadamard(), Kronecker(), Dense())


def _need(chained: bool, shapes: Shapes, needed: str) -> None:
    if not chained:
        found = ", ".join(f"{role} {list(shape)}" for role, shape in sorted(shapes.items()))
        raise BadFile(f"shapes do not chain: {found}; needed {needed}")


def _product_extent(shapes: Shapes, name: str, core: str) -> tuple[int, int, int]:
    """Return rows, cols and rank of w_a w_b, or of the core between them."""
    first, second = shapes[f"{name}_a"], shapes[f"{name}_b"]
    _need(min(len(first), len(second)) >= 2, shapes, "matrices")
    if core not in shapes:
        _need(first[1] == second[0] and len(first) == 2, shapes, "w_a [out, r], w_b [r, in]")
        return first[0], math.prod(second[1:]), first[1]
    middle = shapes[core]
    chained = middle[:2] == (first[0], second[0]) and len(first) == len(second) == 2
    _need(chained, shapes, "w_a [r, out], t [r, r, k...], w_b [r, in]")
    return first[1], second[1] * math.prod(middle[2:]), first[0]


def _product(stored: Mapping[str, Tensor], name: str, core: str) -> tuple[Tensor, Tensor]:
    first, second = stored[f"{name}_a"], stored[f"{name}_b"].flatten(2)
    if core not in stored:
        return first, second
    return first.mT, _cored(stored[core], second)


def _cored(core: Tensor, down: Tensor) -> Tensor:
    """Return down'[i, (c k)] = sum_j core[i, j, k] down[j, c], with n before."""
    import torch

    return torch.einsum("nijk,njc->nick", core.flatten(3), down).flatten(2)


def _half_extent(shapes: Shapes, number: str) -> tuple[int, int, int | None]:
    """Return rows, cols and rank of w1 or w2; no rank where it is stored whole."""
    whole, factored = f"w{number}", {f"w{number}_a", f"w{number}_b"}
    if whole in shapes and len(shapes[whole]) >= 2 and not factored & shapes.keys():
        shape = shapes[whole]
        return shape[0], math.prod(shape[1:]), None
    _need(factored <= shapes.keys() and whole not in shapes, shapes, f"{whole} or both its factors")
    return _product_extent(shapes, whole, f"t{number}")


def _width(rows: int, cols: int, rank: int | None) -> int:
    return min(rows, cols, rank or rows)


def _half(stored: Mapping[str, Tensor], number: str) -> tuple[Tensor, Tensor]:
    whole = stored.get(f"w{number}")
    if whole is not None:
        return _with_unit(whole.flatten(2))
    up, down = _product(stored, f"w{number}", f"t{number}")
    narrow = up.shape[2] < min(up.shape[1], down.shape[2])
    return (up, down) if narrow else _with_unit(up @ down)


def _with_unit(whole: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix as a product with a unit matrix on its smaller side."""
    import torch

    count, rows, cols = whole.shape
    unit = torch.eye(min(rows, cols), dtype=whole.dtype).expand(count, -1, -1)
    return (unit, whole) if rows <= cols else (whole, unit)


def _kron(left: Tensor, right: Tensor) -> Tensor:
    """Return the Kronecker products of [n, a, b] and [n, c, d], [n, a c, b d]."""
    product = left[:, :, None, :, None] * right[:, None, :, None, :]
    return product.flatten(3, 4).flatten(1, 2)
