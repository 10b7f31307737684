"""Update moments: the central moments of updates, from their factors alone where that is faster.

Less its mean an update is x @ y with one rank more. Its squares are sums of products of two of x's
columns and two of y's rows, so that its powers up to the fourth add up to products of two small
Gram matrices: of those columns and of all their products, on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wsa_kernels.delta import Factored, factored, in_blocks
from wsa_kernels.gram import gram, product
from wsa_kernels.layerwise import Part
from wsa_kernels.matrices import Delta
from wsa_kernels.reductions import centred, total

# Of an entry that is formed, in products of the Gram matrices: on one core of an EPYC 1.0 ns and
# 0.06 to 0.13 ns. Of 320 x 320 ranks up to 6 are left to the factors, of 1,280 x 1,280 up to 9.
ENTRY_COST = 10
# How often the length of x @ y goes into the most that its terms allow: its fourth power is what
# cancels in m_4, 1e-16 * 1e8 of it at most.
MOST_CANCELLED = 100.0
# An update that deviates by less from its mean holds one value, in float32.
FLAT = 2.0**-24


class Centred(NamedTuple):
    """Updates less their means, x^T @ y, and the most their length can be."""

    x: Tensor  # [B, R + 1, out]
    y: Tensor  # [B, R + 1, in]
    reach: Tensor  # [B]


def moments_of_updates(matrices: Delta) -> Iterator[Part]:
    """Yield mean, deviation (ddof 1) and mean powers two to four of every update, [n * G, 5]."""
    for part in factored(matrices):
        up, mean = part.scaled, part.mean()
        sums = _from_factors if _is_closed(part) else _from_entries
        found = _described(sums(up, part.down, mean), mean, part.rows * part.cols)
        yield Part(part.adapters, part.modules, found)


def _described(sums: Tensor, mean: Tensor, count: int) -> Tensor:
    std = (sums[:, 0] / max(1, count - 1)).sqrt()
    found = torch.cat([std.unsqueeze(-1), sums / count], -1)
    found.masked_fill_((std <= FLAT * mean.abs()).unsqueeze(-1), 0.0)
    return torch.cat([mean.unsqueeze(-1), found], -1)


def _is_closed(part: Factored) -> bool:
    terms = (part.up.shape[-1] + 1) * (part.up.shape[-1] + 4) // 2
    return (part.rows + part.cols) * terms**2 <= ENTRY_COST * part.rows * part.cols


def _from_factors(up: Tensor, down: Tensor, mean: Tensor) -> Tensor:
    """Return the sums of (w - mu)^k, k = 2, 3, 4, [B, 3]; where terms cancel, from entries."""
    x, y, reach = _centred(up, down, mean)
    sums = _sums_of_terms(x, y)
    known = sums[:, 0] * MOST_CANCELLED**2 >= reach.square()
    if not known.all():
        sums[~known] = _from_entries(up[~known], down[~known], mean[~known])
    return sums


def _sums_of_terms(x: Tensor, y: Tensor) -> Tensor:
    """Return the sums of the second to fourth powers of x^T @ y, [B, 3]."""
    rank = x.shape[1]
    first, second = torch.triu_indices(rank, rank)
    products = _terms(x, first, second) * _terms(y, first, second)
    # a product of two different rows stands for both of their orders
    twice = 1.0 + (first != second)
    products[:, rank:] *= twice[:, None]
    products[:, :, rank:] *= twice
    blocks = (products[:, :rank, :rank], products[:, :rank, rank:], products[:, rank:, rank:])
    return torch.stack([total(each.flatten(1)) for each in blocks], -1)


def _terms(rows: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the Gram matrix of rows [B, R + 1, n] and of all products of two of them."""
    return gram(torch.cat([rows, rows[:, first] * rows[:, second]], 1))


def _centred(up: Tensor, down: Tensor, mean: Tensor) -> Centred:
    """Take the mean of each column out of `up`, and what it leaves in `down` as a row more."""
    level, x = _rows_centred(up.mT)  # [B, R], [B, R, out]
    _, y = _rows_centred(down)
    ones = torch.ones_like(x[:, :1])
    along = product(level.unsqueeze(1), y)
    lengths = x.norm(dim=-1) * down.norm(dim=-1)
    lengths += level.abs() * y.norm(dim=-1) * up.shape[1] ** 0.5
    reach = lengths.sum(-1) + mean.abs() * (up.shape[1] * down.shape[-1]) ** 0.5
    return Centred(torch.cat([x, ones], 1), torch.cat([down, along], 1), reach)


def _rows_centred(rows: Tensor) -> tuple[Tensor, Tensor]:
    mean, rest = centred(rows.flatten(0, 1))
    return mean.view(rows.shape[:2]), rest.view(rows.shape)


def _from_entries(up: Tensor, down: Tensor, mean: Tensor) -> Tensor:
    """Return the sums of (w - mu)^k, k = 2, 3, 4, [B, 3], of updates formed block by block."""

    def add_up(values: Tensor, some: slice) -> tuple[Tensor]:
        return (_powers(values.sub_(mean[some, None, None]).flatten(1)),)

    return torch.stack([powers for (powers,) in in_blocks(up, down, add_up)]).sum(0)


def _powers(entries: Tensor) -> Tensor:
    square = entries.square()
    second, third = total(square), total(square * entries)
    return torch.stack([second, third, total(square.square_())], -1)
