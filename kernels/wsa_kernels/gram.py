"""Gram: batched products, Gram matrices and their roots; float64 where a spectrum hangs on it.

On the CPU numpy does the work. Its loops hand one matrix after another to BLAS and LAPACK, so that
a matrix comes out the same whichever others are in the batch; torch's batched calls round
otherwise for another batch size, alignment or number of threads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps
# cuSOLVER's batched eigenvalues fail between 32,768 and 40,000 matrices (mujocolab/mjlab#732).
BATCH = 16384
# Of the same memory twice numpy asks BLAS for a triangle (syrk): on one core of an EPYC it takes
# 6.3 us for 16 x 320, two halves of the whole product 3.6; 1.5 and 0.6 for 4 x 320, 18 and 16 for
# 32 x 320, but 0.7 and 0.6 for 2 x 320, 50 and 127 for 64 x 320.
HALVED = range(4, 33)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply [..., rows, R] by [..., R, cols]."""
    if left.shape[-1] == 1:
        return left * right
    if left.is_cuda:
        return left @ right
    return torch.from_numpy(np.matmul(left.numpy(), right.numpy()))


def gram(values: Tensor) -> Tensor:
    """Return w w^T of float64 matrices [..., k, n], [..., k, k].

    In float32 every singular value below 3e-4 of the first would be lost.
    """
    if values.dtype != torch.float64:
        raise ValueError(f"a Gram matrix needs float64; got {values.dtype}")
    if values.is_cuda or values.shape[-2] not in HALVED:
        return product(values, values.mT)
    return torch.cat([product(half, values.mT) for half in values.chunk(2, -2)], -2)


def eigenvalues(gram_matrices: Tensor, length: int) -> Tensor:
    """Return the eigenvalues of [..., k, k], greatest first; rounding noise is exactly 0.

    `length` is the number of terms in each entry's sum.
    """
    found = _of_numpy(np.linalg.eigvalsh, torch.linalg.eigvalsh, gram_matrices).flip(-1)
    return _without_noise(found, found[..., :1], length)


def square_root(gram_matrices: Tensor, length: int) -> Tensor:
    """Return S with S S^T = G for G [..., k, k]; directions of rounding noise are exactly 0.

    By Cholesky, a tenth of the time that eigenvectors take (16 x 16); by those where a rank is
    deficient, as of a fresh up, and Cholesky has noise for an answer or none.
    """
    if gram_matrices.shape[-1] == 1:
        return gram_matrices.sqrt()
    if gram_matrices.is_cuda:
        return _root_by_eigenvectors(gram_matrices, length)
    roots = _cholesky(gram_matrices)
    noise = max(length, roots.shape[-1]) * EPSILON
    pivots, diagonal = (each.diagonal(dim1=-2, dim2=-1) for each in (roots, gram_matrices))
    deficient = ~(pivots.square() > noise * diagonal).all(-1)
    if deficient.any():
        roots[deficient] = _root_by_eigenvectors(gram_matrices[deficient], length)
    return roots


def _root_by_eigenvectors(gram_matrices: Tensor, length: int) -> Tensor:
    found, vectors = _eigenvectors(gram_matrices)
    found = _without_noise(found, found[..., -1:], length)
    return vectors * found.sqrt().unsqueeze(-2)


def _cholesky(gram_matrices: Tensor) -> Tensor:
    """Return lower triangular roots of [B, k, k]; NaN where there is none."""
    try:
        return torch.from_numpy(np.linalg.cholesky(gram_matrices.numpy()))
    except np.linalg.LinAlgError:
        if len(gram_matrices) == 1:
            return torch.full_like(gram_matrices, torch.nan)
        # numpy gives up on all for one: halves, until it stands alone
        return torch.cat([_cholesky(half) for half in gram_matrices.chunk(2)])


def _without_noise(found: Tensor, greatest: Tensor, length: int) -> Tensor:
    noise = max(length, found.shape[-1]) * EPSILON * greatest
    return found.masked_fill(found <= noise, 0.0)


def _of_numpy(
    numpy_form: Callable[..., np.ndarray], torch_form: Callable[[Tensor], Tensor], values: Tensor
) -> Tensor:
    if values.is_cuda:
        return torch.cat([torch_form(part) for part in torch.split(values, BATCH)])
    return torch.from_numpy(numpy_form(values.numpy()))


def _eigenvectors(values: Tensor) -> tuple[Tensor, Tensor]:
    if values.is_cuda:
        found, vectors = zip(*map(torch.linalg.eigh, torch.split(values, BATCH)), strict=True)
        return torch.cat(found), torch.cat(vectors)
    numbers, columns = np.linalg.eigh(values.numpy())
    return torch.from_numpy(numbers), torch.from_numpy(columns)
