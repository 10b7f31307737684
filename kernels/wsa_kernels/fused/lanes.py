"""Lanes: spectra of matrices up to 4 x 4, a whole matrix a lane: no lane ever asks another.

A matrix is a tuple of its columns, a column one of K tensors [B]: of tensors with one axis the
compiler can lay no part in another lane. What is known of singular values are K tensors [B] too.
"""

from __future__ import annotations

import triton
import triton.language as tl

from wsa_kernels.fused.constants import ENERGY_SHARES, LEADING
from wsa_kernels.fused.jacobi import product, turned
from wsa_kernels.fused.power_sums import ratio
from wsa_kernels.fused.summaries import log10

# For 32 matrices of 4 x 4 2,900 instructions and 92 registers a lane (sm_90), where a column a lane
# took 1,900 for 8; of 8 x 8 they are 8,800 and 202, and take minutes to compile.
WIDEST = tl.constexpr(4)


@triton.jit
def columns_of_lanes(left_ptr, right_ptr, first, valid, K: tl.constexpr, UPDATE: tl.constexpr):
    """Return the columns of S^T T of roots, or of a Gram matrix; matrices begin at `first`."""
    columns, left = (), _entries(left_ptr, first, valid, K)
    if UPDATE:
        right = _entries(right_ptr, first, valid, K)
        for j in tl.static_range(K):
            column = ()
            for i in tl.static_range(K):
                entry = left[i] * right[j]
                for r in tl.static_range(1, K):
                    entry += left[r * K + i] * right[r * K + j]
                column = column + (entry,)
            columns = columns + (column,)
    else:
        # a Gram matrix is symmetric: its rows are its columns
        for j in tl.static_range(K):
            columns = columns + (left[j * K : (j + 1) * K],)
    return columns


@triton.jit
def _entries(pointer, first, valid, K: tl.constexpr):
    """Load the K * K entries of matrices, row after row."""
    entries = ()
    for place in tl.static_range(K * K):
        entries = entries + (tl.load(pointer + first + place, mask=valid, other=0.0),)
    return entries


@triton.jit
def energies_of_lanes(columns, K: tl.constexpr, UPDATE: tl.constexpr):
    """Return the squared singular values of updates, or the eigenvalues of Gram matrices."""
    # float64 holds the fourth power of float32 entries, but not the eighth
    reach = _reach(columns, K)
    columns = _scaled(columns, tl.where(reach > 0, 1 / tl.where(reach > 0, reach, 1.0), 1.0), K)
    # of 1.2 million random, graded and clustered matrices a 2 x 2 took 2 sweeps, a 4 x 4 up to 6
    for _sweep in range(2 * K - 1 if K > 1 else 0):
        columns = _swept(columns, K)
    energies = ()
    for j in tl.static_range(K):
        length = tl.sqrt(product(columns[j], columns[j], K)) * reach
        energies = energies + (length * length if UPDATE else length,)
    return energies


@triton.jit
def _reach(columns, K: tl.constexpr):
    """Return the greatest size of an entry."""
    reach = tl.abs(columns[0][0])
    for j in tl.static_range(K):
        for i in tl.static_range(K):
            reach = tl.maximum(reach, tl.abs(columns[j][i]))
    return reach


@triton.jit
def _scaled(columns, unit, K: tl.constexpr):
    found = ()
    for j in tl.static_range(K):
        column = ()
        for i in tl.static_range(K):
            column = column + (columns[j][i] * unit,)
        found = found + (column,)
    return found


@triton.jit
def _swept(columns, K: tl.constexpr):
    """Turn every pair of columns once."""
    for a in tl.static_range(K):
        for b in tl.static_range(a + 1, K):
            one, other = turned(columns[a], columns[b], K)
            columns = columns[:a] + (one,) + columns[a + 1 : b] + (other,) + columns[b + 1 :]
    return columns


@triton.jit
def in_order(energies, factor, noise, K: tl.constexpr):
    """Put energies in order, greatest first, times a factor; a part of the first is noise: 0."""
    for a in tl.static_range(K):
        for b in tl.static_range(a + 1, K):
            high = tl.maximum(energies[a], energies[b])
            low = tl.minimum(energies[a], energies[b])
            energies = energies[:a] + (high,) + energies[a + 1 : b] + (low,) + energies[b + 1 :]
    least = energies[0] * noise
    found = ()
    for j in tl.static_range(K):
        found = found + (tl.where(energies[j] <= least, 0.0, energies[j]) * factor,)
    return found


@triton.jit
def sum_of_lanes(values, K: tl.constexpr):
    """Add up K tensors."""
    total = values[0]
    for j in tl.static_range(1, K):
        total += values[j]
    return total


@triton.jit
def store_lanes(out, energies, level, tolerance, valid, step, K: tl.constexpr):
    """Write what `store_summaries` does, of energies in order."""
    sigma = ()
    for j in tl.static_range(K):
        sigma = sigma + (tl.sqrt(energies[j]),)
    nuclear, least, entropy = sum_of_lanes(sigma, K), sigma[0], tl.zeros_like(sigma[0])
    for j in tl.static_range(K):
        following = sigma[j + 1] if j + 1 < K else tl.zeros_like(sigma[0])
        share = ratio(sigma[j], nuclear)
        gap = tl.where(level != 0, 0.0, ratio(sigma[j] - following, sigma[0]))
        tl.store(out + j * step, sigma[j], mask=valid)
        tl.store(out + (LEADING + j) * step, share, mask=valid)
        tl.store(out + (2 * LEADING + j) * step, gap, mask=valid)
        entropy -= share * tl.log(tl.where(share > 0, share, 1.0))
        least = tl.where(sigma[j] > tolerance * sigma[0], sigma[j], least)
    scalars = out + (3 * LEADING - 1) * step
    _store_scalars(scalars, energies, nuclear, entropy, valid, step, K)
    tl.store(scalars + 10 * step, log10(ratio(sigma[0], least)), mask=valid)
    tl.store(scalars + 11 * step, log10(sigma[0]), mask=valid)
    tl.store(scalars + 12 * step, log10(nuclear), mask=valid)


@triton.jit
def _store_scalars(out, energies, nuclear, entropy, valid, step, K: tl.constexpr):
    square, fourth = sum_of_lanes(energies, K), tl.zeros_like(nuclear)
    for j in tl.static_range(K):
        fourth += energies[j] * energies[j]
    tl.store(out, nuclear, mask=valid)
    tl.store(out + step, tl.sqrt(square), mask=valid)
    tl.store(out + 2 * step, entropy, mask=valid)
    tl.store(out + 3 * step, tl.where(nuclear > 0, tl.exp(entropy), 0.0), mask=valid)
    tl.store(out + 4 * step, ratio(square, energies[0]), mask=valid)
    tl.store(out + 5 * step, ratio(square * square, fourth), mask=valid)
    for place in tl.static_range(4):
        reached, rank = tl.zeros_like(square), tl.full(square.shape, 1, tl.int32)
        for j in tl.static_range(K):
            reached += energies[j]
            rank += (reached < ENERGY_SHARES[place] * square).to(tl.int32)
        tl.store(out + (6 + place) * step, tl.where(square > 0, rank, 0), mask=valid)
