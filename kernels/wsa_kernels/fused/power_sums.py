"""Power sums: the moments of a chunk of entries, and of two chunks together.

Within a chunk entries are centred on its mean and scaled by its reach, so that float32 powers
neither lose nor overflow; what the rounded mean left is corrected. Chunks are merged in float64 by
Pebay's formulas (SAND2008-6212).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def chunk(w, valid, n):
    """Return the mean, the sums of second to fourth powers about it, and the extrema of a chunk."""
    mean = tl.sum(tl.where(valid, w, 0.0)) / n
    low = tl.min(tl.where(valid, w, float("inf")))
    high = tl.max(tl.where(valid, w, float("-inf")))
    # the least normal float32: its inverse is still finite
    reach = tl.maximum(tl.maximum(high - mean, mean - low), 1.1754944e-38)
    u = tl.where(valid, w - mean, 0.0) * (1.0 / reach)
    square = u * u
    e, m2, m3, m4 = tl.sum(u) / n, tl.sum(square), tl.sum(square * u), tl.sum(square * square)
    m4 = m4 - 4 * e * m3 + 6 * e * e * m2 - 3 * n * e * e * e * e
    m3 = m3 - 3 * e * m2 + 2 * n * e * e * e
    m2 = m2 - n * e * e
    s = reach.to(tl.float64)
    s2 = s * s
    mean = mean.to(tl.float64) + e.to(tl.float64) * s
    return mean, m2.to(tl.float64) * s2, m3.to(tl.float64) * s2 * s, m4 * (s2 * s2), low, high


@triton.jit
def merge(n_a, mean_a, m2_a, m3_a, m4_a, n_b, mean_b, m2_b, m3_b, m4_b):
    """Return the mean and power sums of two sets of entries together; counts are float32."""
    d = mean_b - mean_a
    # A share rounded to float32 moves the mean by 6e-8 of the distance between two chunks' means.
    # The other is what it leaves: 255 / 255 is not 1 on a GPU, and of a first chunk about 1,000
    # the mean was off by 6e-5 on an H200.
    a = (n_a / (n_a + n_b)).to(tl.float64)
    b = 1 - a
    cross = n_a.to(tl.float64) * b * d * d
    m4 = m4_a + m4_b + cross * d * d * (a * a - a * b + b * b)
    m4 += 6 * d * d * (a * a * m2_b + b * b * m2_a) + 4 * d * (a * m3_b - b * m3_a)
    m3 = m3_a + m3_b + cross * d * (a - b) + 3 * d * (a * m2_b - b * m2_a)
    return n_a + n_b, mean_a + b * d, m2_a + m2_b + cross, m3, m4


@triton.jit
def ratio(above, below):
    """Divide; a ratio with nothing below it is 0."""
    return tl.where(below > 0, above / tl.where(below > 0, below, 1.0), 0.0)


@triton.jit
def store_statistics(out, n, mean, m2, m3, m4, low, high, l1):
    """Write the eight fields of one layer; a constant layer has no spread at all."""
    constant = low == high
    least, greatest = low.to(tl.float64), high.to(tl.float64)
    m2 = tl.where(constant, 0.0, m2)
    n = n.to(tl.float64)
    second = m2 / n
    tl.store(out, tl.where(constant, least, mean))
    tl.store(out + 1, tl.sqrt(m2 / tl.maximum(n - 1, 1.0)))
    tl.store(out + 2, ratio(m3 / n, second * tl.sqrt(second)))
    tl.store(out + 3, ratio(m4 / n, second * second))
    tl.store(out + 4, least)
    tl.store(out + 5, greatest)
    tl.store(out + 6, l1)
    tl.store(out + 7, tl.maximum(greatest, -least))
