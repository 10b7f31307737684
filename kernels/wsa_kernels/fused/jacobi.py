"""Jacobi: the singular values of K x K matrices, side by side in registers.

One-sided Jacobi turns pairs of columns until all are orthogonal; their lengths are then the
singular values. Beyond 4 x 4 a column lies in a lane. In step s of a sweep column c then meets
column c xor s: K - 1 steps pair all columns of all matrices, and with a warp or less to a matrix no
step needs shared memory.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Warps of a K x K matrix: one needs no barrier, but has no room for the columns of 64.
WARPS = {1: 1, 2: 1, 4: 1, 8: 1, 16: 1, 32: 1, 64: 8}
# Squared cosine up to which two columns count as orthogonal: it changes a length by such a part.
ORTHOGONAL = tl.constexpr(1e-24)
# Random 64 x 64 matrices took 10, Gram matrices whose eigenvalues fall by 1e8 took 12.
SWEEPS = tl.constexpr(30)


@triton.jit
def column_lengths(w, K: tl.constexpr):
    """Return the singular values of the matrices in the columns of w [K, C], unordered, [C]."""
    column = tl.arange(0, w.shape[1])
    rounds = tl.full([], SWEEPS, tl.int32)
    while rounds > 0:
        turned = tl.full([], 0, tl.int32)
        for step in range(1, K):
            w, oblique = _turn(w, column, column ^ step)
            turned = tl.maximum(turned, oblique)
        rounds = (rounds - 1) * turned
    return tl.sqrt(tl.sum(w * w, 0))


@triton.jit
def _turn(w, column, partner):
    """Make each column orthogonal to its partner; say whether any was not.

    Both columns of a pair find the same angle, bit for bit. A pair that is orthogonal stays as it
    is, so that a matrix does not depend on others that need more sweeps.
    """
    other = tl.gather(w, tl.broadcast_to(partner[None, :], w.shape), 1)
    square, product = tl.sum(w * w, 0), tl.sum(w * other, 0)
    partners_square = tl.gather(square, partner, 0)
    lower = column < partner
    difference = tl.where(lower, partners_square - square, square - partners_square)
    oblique = product * product > (square * partners_square) * ORTHOGONAL
    cosine, sine = _angle(difference, product, oblique)
    sine = tl.where(lower, sine, -sine)
    turned = cosine[None, :] * w - sine[None, :] * other
    return tl.where(oblique[None, :], turned, w), tl.max(oblique.to(tl.int32))


@triton.jit
def turned(one, other, K: tl.constexpr):
    """Make two columns, of K tensors each, orthogonal where they are not; no lane asks another."""
    square, others_square = product(one, one, K), product(other, other, K)
    across = product(one, other, K)
    oblique = across * across > (square * others_square) * ORTHOGONAL
    cosine, sine = _angle(others_square - square, across, oblique)
    # by an angle of 0 a column keeps its bits
    cosine, sine = tl.where(oblique, cosine, 1.0), tl.where(oblique, sine, 0.0)
    left, right = (), ()
    for i in tl.static_range(K):
        left = left + (cosine * one[i] - sine * other[i],)
        right = right + (sine * one[i] + cosine * other[i],)
    return left, right


@triton.jit
def product(one, other, K: tl.constexpr):
    """Multiply two columns of K tensors each."""
    found = one[0] * other[0]
    for i in tl.static_range(1, K):
        found += one[i] * other[i]
    return found


@triton.jit
def _angle(difference, product, oblique):
    """Return cosine and sine of the lesser angle that makes two columns orthogonal."""
    reach = tl.abs(difference) + tl.sqrt(difference * difference + 4 * product * product)
    tangent = tl.where(difference < 0, -2 * product, 2 * product) / tl.where(oblique, reach, 1.0)
    cosine = 1 / tl.sqrt(1 + tangent * tangent)
    return cosine, tangent * cosine
