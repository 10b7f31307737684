"""Examination: every adapter's digest and whether it is finite, while its bytes are in the cache.

A look at bytes that a core has just read runs at 60 GB/s, one at bytes that have gone to memory
at 20 (AMD EPYC, 2 cores): so a shard is filled and examined part by part, parts side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import xxhash
from torch import Tensor

from wsa.formats.reading import BUFFER_BYTES

# The bits of each type read as whole numbers, signed and not, and the least with all bits of the
# exponent set: that of no finite number, without and with the sign before them.
NOT_FINITE = {
    torch.float16: (np.int16, 0x7C00, np.uint16, 0xFC00),
    torch.bfloat16: (np.int16, 0x7F80, np.uint16, 0xFF80),
    torch.float32: (np.int32, 0x7F800000, np.uint32, 0xFF800000),
}
THREADS = 4


@dataclass(frozen=True)
class Loaded:
    """The weights of a shard as they are stored, finite or not."""

    flat: Tensor  # [n, P]
    scale: Tensor  # [n, M]
    digests: list[str]  # of each row: xxh3-128 of its weights and the scale of its modules
    valid: np.ndarray  # [n] bool: is finite


def loaded(
    flat: Tensor,
    scale: Tensor,
    parts: Iterable[slice],
    fill: Callable[[slice], object],
    threads: int = THREADS,
) -> Loaded:
    """Fill the parts of a shard, so many at once, and examine each as soon as it is filled."""

    def one(part: slice) -> list[tuple[str, bool]]:
        fill(part)
        return _examined(flat[part], scale[part])

    with ThreadPoolExecutor(threads) as pool:
        digests, valid = zip(*(row for part in pool.map(one, parts) for row in part), strict=True)
    return Loaded(flat, scale, list(digests), np.array(valid))


def examined(flat: Tensor, scale: Tensor) -> Loaded:
    """Examine a shard that is filled already."""
    return loaded(flat, scale, parts_of(flat), lambda part: None)


def parts_of(flat: Tensor) -> list[slice]:
    """Cut the rows of a shard into parts that stay in a core's cache."""
    rows = max(1, BUFFER_BYTES // max(1, flat[:1].nbytes))
    return [slice(at, min(at + rows, len(flat))) for at in range(0, len(flat), rows)]


def _examined(flat: Tensor, scale: Tensor) -> list[tuple[str, bool]]:
    weights, scales = flat.view(torch.uint8).numpy(), scale.view(torch.uint8).numpy()
    known = torch.isfinite(scale).all(1).tolist()
    rows = zip(weights, scales, known, strict=True)
    return [(_digest(own, other), ok and _finite(own, flat.dtype)) for own, other, ok in rows]


def _finite(row: np.ndarray, dtype: torch.dtype) -> bool:
    """Tell whether every number is finite: two maxima, with no array of as many truths between."""
    signed, positive, unsigned, negative = NOT_FINITE[dtype]
    return bool(row.view(signed).max() < positive and row.view(unsigned).max() < negative)


def _digest(*rows: np.ndarray) -> str:
    state = xxhash.xxh3_128()
    for row in rows:
        state.update(row.data)
    return str(state.hexdigest())
