"""Contenders: the two ways that every operation is measured against, and the case they make.

`loop`: a script that takes one matrix at a time with numpy and scipy, as the original system did.
`eager`: the straightforward vectorised code, each statistic one torch call a layer over all N.

The truth is the same script in float64, with nothing of ours in it but where a matrix lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsa import Case, Target
from wsa.case import Answer, Contender
from wsa_bench import populations
from wsa_kernels.matrices import Delta, Matrices
from wsa_kernels.operation import BACKENDS, Operation

Array = NDArray[np.floating[Any]]
# Maps one matrix [rows, cols] of rank at most R (None: unknown) to numbers by name.
OfMatrix = Callable[[Array, int | None], Mapping[str, Any]]
# Maps one layer of all adapters [N, rows, cols] to tensors [N, ...] by name.
OfLayer = Callable[[Tensor, int | None], Mapping[str, Tensor]]

OURS = tuple(reversed(BACKENDS))
# One operation, and one file here, each.
KERNELS = (
    *("moments", "extrema", "absolute_sums", "quantiles", "histogram"),
    *("row_col_norms", "spectrum", "fourier"),
)


def by_matrix(describe: OfMatrix, dtype: torch.dtype = torch.float32) -> Contender:
    """Loop over adapters and layers; an update is formed, one at a time, in a dtype."""

    def loop(matrices: Matrices) -> Answer:
        found: dict[str, list[Any]] = {}
        for adapter in range(len(matrices.flat)):
            for layer in range(matrices.count):
                values = _layer(matrices, layer, slice(adapter, adapter + 1), dtype)
                for name, value in describe(values[0].cpu().numpy(), _rank(matrices)).items():
                    found.setdefault(name, []).append(value)
        shape = (len(matrices.flat), matrices.count)
        arrays = {name: np.asarray(values) for name, values in found.items()}
        return {
            name: torch.from_numpy(values.reshape(*shape, *values.shape[1:]))
            for name, values in arrays.items()
        }

    return loop


def by_layer(describe: OfLayer) -> Contender:
    """Loop over layers, all adapters at once; a layer's updates are formed together."""

    def eager(matrices: Matrices) -> Answer:
        found: dict[str, list[Tensor]] = {}
        for layer in range(matrices.count):
            values = _layer(matrices, layer, slice(None))
            for name, value in describe(values, _rank(matrices)).items():
                found.setdefault(name, []).append(value)
        return {name: torch.stack(values, 1) for name, values in found.items()}

    return eager


def ours(operation: Operation[Any], answer: Callable[[Any], Answer]) -> dict[str, Contender]:
    """Return every form an operation has, the fastest first, as contenders."""

    def form(backend: str) -> Contender:
        return lambda matrices: answer(operation(populations.fresh(matrices), backend=backend))

    return {name: form(name) for name in OURS if getattr(operation, name, None) is not None}


def truth(describe: OfMatrix) -> Contender:
    """Return what numpy and scipy find in float64, one matrix at a time."""
    return by_matrix(describe, torch.float64)


def fields(result: Any) -> Answer:
    """Return an operation's result by the names of its fields."""
    found: Answer = result._asdict()
    return found


def kernel_case(
    operation: Operation[Any],
    of_matrix: OfMatrix,
    of_layer: OfLayer,
    tolerance: Mapping[str, float],
    flops: Callable[[Matrices], float],
    answer: Callable[[Any], Answer] = fields,
    targets: tuple[Target, ...] = (),
) -> Case:
    """Return the case of an operation on the flagship's shapes, in both views."""
    others = {"eager": by_layer(of_layer), "loop": by_matrix(of_matrix)}
    return Case(
        name=operation.name,
        inputs=populations.flagship,
        reference=truth(of_matrix),
        contenders=ours(operation, answer) | others,
        shape=populations.told,
        bytes=populations.weight_bytes,
        flops=flops,
        tolerance=tolerance,
        views=("factors", "delta"),
        adapters=populations.ADAPTERS,
        part=populations.part,
        targets=targets,
    )


def _layer(
    matrices: Matrices, layer: int, adapters: slice, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return a layer of some adapters, [n, rows, cols]; an update is multiplied out."""
    if not isinstance(matrices, Delta):
        return _stored(matrices, layer, adapters, dtype)
    up, down = (_stored(matrices, half, adapters, dtype) for half in matrices.layout.pairs[layer])
    return (up @ down) * matrices.scale[adapters, layer, None, None].to(dtype)


def _stored(matrices: Matrices, layer: int, adapters: slice, dtype: torch.dtype) -> Tensor:
    (rows, cols), offset = matrices.layout.shapes[layer], matrices.layout.offsets[layer]
    values = matrices.flat[adapters, offset : offset + rows * cols]
    return values.to(dtype).view(-1, rows, cols)


def _rank(matrices: Matrices) -> int | None:
    if not isinstance(matrices, Delta):
        return None
    return matrices.layout.shapes[matrices.layout.pairs[0][0]][1]
