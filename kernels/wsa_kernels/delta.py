"""Delta algebra: an update D = scale * up @ down by its R x R core, never formed.

With S S^T = up^T up and T T^T = down down^T the core scale * S^T T has the singular values of D.
The narrow matrix left = scale * up @ T has D D^T = left left^T: the same row norms and marginal
spectrum along the output axis. right = scale * S^T @ down does the same for the input axis. All are
sums of squares, so that none comes out below zero, and zeros in a factor, or in its rank, stay
exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wsa_kernels.gram import gram, product, square_root
from wsa_kernels.matrices import Delta, Shared, runs, working_dtype
from wsa_kernels.reductions import column_total, is_constant, total

# Tiles of factors at once on the CPU. Of 64 updates of 320 x 320, rank 16, one tile at a time cost
# 770 page faults and 94 us a matrix, four 20 and 56 (one core of an EPYC, busy): memory in pieces
# below 2 MiB goes back to the system again and again.
TILES = 4
# Entries of updates that are formed at once: 1 MiB of float64.
BLOCK = 1 << 17

# Maps a block [g, rows, in] of some updates, and which they are, to tensors [g, ...].
Describe = Callable[[Tensor, slice], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Factored:
    """Equally shaped modules of some adapters, one batch axis, in float64."""

    adapters: slice
    modules: Tensor  # [G] int64
    up: Tensor  # [B, out, R]
    down: Tensor  # [B, R, in]
    scale: Tensor  # [B]
    shared: Shared

    @property
    def rows(self) -> int:
        """Count the rows of the update."""
        return self.up.shape[-2]

    @property
    def cols(self) -> int:
        """Count the columns of the update."""
        return self.down.shape[-1]

    @property
    def constant(self) -> Tensor:
        """Say which updates hold one value only because each of their factors' terms does, [B]."""
        up, down = (is_constant(each).all(-1) for each in (self.up.mT, self.down))
        return up & down

    @property
    def scaled(self) -> Tensor:
        """Return `up` with the scale in it, [B, out, R]."""
        return self.up * self.scale[:, None, None]

    def mean(self) -> Tensor:
        """Return the mean entry of each update, [B]: a product of column and of row sums."""
        sums = (column_total(self.up) * total(self.down)).sum(-1)
        return self.scale * sums / (self.rows * self.cols)

    def core(self) -> Tensor:
        """Return [B, R, R] with the update's singular values, and zeros where it has fewer."""
        of_up, of_down = self._roots()
        return product(of_up.mT, of_down) * self.scale[:, None, None]

    def left(self) -> Tensor:
        """Return [B, out, R] with the update's row Gram matrix: left left^T = D D^T."""
        _, of_down = self._roots()
        return product(self.up, of_down) * self.scale[:, None, None]

    def right(self) -> Tensor:
        """Return [B, R, in] with the update's column Gram matrix: right^T right = D^T D."""
        of_up, _ = self._roots()
        return product(of_up.mT, self.down) * self.scale[:, None, None]

    def _roots(self) -> tuple[Tensor, Tensor]:
        """Return S and T, [B, R, R], with S S^T = up^T up, T T^T = down down^T; computed once."""
        place = (int(self.modules[0]), self.adapters.start, self.adapters.stop)
        return self.shared.once(place, self._find_roots)

    def _find_roots(self) -> tuple[Tensor, Tensor]:
        # both halves in one batch: a call takes as long as the roots of ten matrices
        grams = torch.cat([gram(self.up.mT), gram(self.down)])
        of_up, of_down = square_root(grams, max(self.rows, self.cols)).chunk(2)
        return of_up, of_down


def factored(matrices: Delta) -> Iterator[Factored]:
    """Yield every module once, equal shapes together, in parts of bounded size."""
    for modules, up, down, scale in matrices.pairs():
        one = 8 * len(modules) * (up[0, 0].numel() + down[0, 0].numel()) if len(up) else 0
        for adapters in runs(len(up), one if up.is_cuda else one // TILES, up.is_cuda):
            halves = (_batch(up[adapters]), _batch(down[adapters]))
            yield Factored(adapters, modules, *halves, _batch(scale[adapters]), matrices.shared)


def _batch(values: Tensor) -> Tensor:
    return values.double().flatten(0, 1).contiguous()


def in_blocks(up: Tensor, down: Tensor, describe: Describe) -> Iterator[tuple[Tensor, ...]]:
    """Describe updates up [B, out, R] @ down [B, R, in] that are never whole in memory.

    Yields what was found of each block of their rows, for all B. A description may write to its
    block, which is float64: entries equal in theory come out equal.
    """
    each = max(1, BLOCK // (up.shape[1] * down.shape[-1]))
    groups = [slice(start, start + each) for start in range(0, max(1, len(up)), each)]
    step = max(1, BLOCK // down.shape[-1])
    for start in range(0, up.shape[1], step):
        rows = up[:, start : start + step]
        found = [describe(product(rows[some], down[some]), some) for some in groups]
        yield tuple(torch.cat(each) for each in zip(*found, strict=True))


def means(matrices: Delta) -> Tensor:
    """Return the mean entry of every update, [N, M]."""
    shape = (len(matrices.flat), matrices.count)
    out = matrices.flat.new_empty(shape, dtype=working_dtype(matrices.flat))
    for part in factored(matrices):
        found = part.mean().to(out.dtype).view(-1, len(part.modules))
        out[part.adapters].index_copy_(1, part.modules, found)
    return out
