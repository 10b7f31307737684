from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from wsa_kernels.absolute_sums import absolute_sums
from wsa_kernels.extrema import extrema
from wsa_kernels.fourier import fourier
from wsa_kernels.histogram import histogram
from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Delta, Factors, Matrices
from wsa_kernels.moments import moments
from wsa_kernels.operation import Operation
from wsa_kernels.quantiles import quantiles
from wsa_kernels.row_col_norms import row_col_norms
from wsa_kernels.spectrum import spectrum

Place = Callable[[Matrices], Matrices]

OPERATIONS: list[Operation[Any]] = [
    moments,
    extrema,
    absolute_sums,
    quantiles,
    histogram,
    row_col_norms,
    spectrum,
    fourier,
]
# relative to the greatest true value of a field; features.md
TOLERANCES = {"": 1e-6, "skewness": 2e-5, "kurtosis": 2e-5}
# an update is counted, not sorted, and an entry within rounding of an edge falls to either side
OF_UPDATES = {
    "quantiles": {"": 5e-3, "bowley": 2e-2, "differential": 2e-2},
    "histogram": {"": 2e-2},
}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# one entry, below, at and one above a block of 512 and of 2,048; tall, wide and square
SHAPES = [(1, 1), (1, 511), (512, 1), (3, 171), (165, 8), (5, 1000)]
MODULES = [(1, 1), (17, 40), (65, 130), (64, 64)]


def truth(matrices: Matrices) -> Matrices:
    flat = matrices.flat.double().cpu()
    if isinstance(matrices, Delta):
        return Delta(flat, matrices.layout, matrices.scale.double().cpu())
    return Factors(flat, matrices.layout)


def hold_to_truth(
    operation: Operation[Any], matrices: Matrices, tolerances: Mapping[str, float] = TOLERANCES
) -> None:
    found, wanted = operation(matrices, backend="triton"), operation(truth(matrices))
    for name in found._fields:
        one, true = getattr(found, name).cpu().double(), getattr(wanted, name)
        assert getattr(found, name).dtype == torch.float32 and one.shape == true.shape
        # of each layer: one a thousandth as large as another is held as strictly
        scale = true.abs().flatten(2).amax((0, 2)) if true.dim() == 3 else true.abs().amax(0)
        scale = scale.clamp_min(1e-300).view(1, -1, *[1] * (true.dim() - 2))
        off = ((one - true).abs() / scale).max()
        assert off <= tolerances.get(name, tolerances[""]), (
            f"{operation.name}.{name} is off by {off:.1e}"
        )


def skewed(shape: tuple[int, int], seed: int, draw: Any) -> Tensor:
    """Draw a layer that leans to one side and drifts, so that no two chunks are alike."""
    drift = torch.linspace(0, 3, shape[0] * shape[1]).view(shape)
    values: Tensor = draw(3, *shape, seed=seed).exp() - 0.5 + drift
    return values


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_a_kernel_agrees_with_its_reference_on_stored_matrices(
    operation: Operation[Any],
    dtype: torch.dtype,
    random_matrices: Any,
    pack_factors: Any,
    place: Place,
) -> None:
    layers = [skewed(shape, i, random_matrices).to(dtype) for i, shape in enumerate(SHAPES)]
    hold_to_truth(operation, place(pack_factors(*layers)))


@pytest.mark.parametrize(
    ("dtype", "rank"),
    [(DTYPES[0], 1), (DTYPES[0], 3), (DTYPES[0], 16), (DTYPES[1], 16), (DTYPES[2], 3)],
    ids=str,
)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_a_kernel_agrees_with_its_reference_on_updates(
    operation: Operation[Any],
    dtype: torch.dtype,
    rank: int,
    random_matrices: Any,
    pack_delta: Any,
    place: Place,
) -> None:
    modules = [
        (skewed((out, rank), i, random_matrices), skewed((rank, into), -i, random_matrices))
        for i, (out, into) in enumerate(MODULES)
    ]
    scale = random_matrices(3, len(modules), seed=9)
    cast = [(up.to(dtype), down.to(dtype)) for up, down in modules]
    tolerances = OF_UPDATES.get(operation.name, TOLERANCES)
    hold_to_truth(operation, place(pack_delta(*cast, scale=scale)), tolerances)


@pytest.mark.parametrize("value", [0.0, -0.1])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_a_constant_layer_has_the_references_values(
    operation: Operation[Any], value: float, pack_factors: Any, place: Place
) -> None:
    layers = [torch.full((2, *shape), value) for shape in ((1, 1), (3, 171), (165, 8))]
    hold_to_truth(operation, place(pack_factors(*layers)))


def rows(matrices: Matrices, one: slice) -> Matrices:
    if isinstance(matrices, Delta):
        return Delta(matrices.flat[one], matrices.layout, matrices.scale[one])
    return Factors(matrices.flat[one], matrices.layout)


@pytest.mark.parametrize("view", ["factors", "delta"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_an_adapters_bytes_do_not_depend_on_its_shard_mates(
    operation: Operation[Any], view: str, random_matrices: Any, pack_delta: Any, place: Place
) -> None:
    modules = [
        (skewed((out, 3), i, random_matrices), skewed((3, into), -i, random_matrices))
        for i, (out, into) in enumerate(MODULES)
    ]
    matrices = pack_delta(*modules, scale=random_matrices(3, len(modules), seed=9))
    if view == "factors":
        matrices = Factors(matrices.flat, matrices.layout)
    together = operation(place(matrices), backend="triton")
    for one in (slice(0, 1), slice(2, 3)):
        alone = operation(place(rows(matrices, one)), "triton")
        assert all(torch.equal(a[one], b) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_no_layers_give_no_columns(operation: Operation[Any], place: Place) -> None:
    nothing = Layout.plan([])
    for matrices in (
        Factors(torch.zeros(2, 0), nothing),
        Delta(torch.zeros(2, 0), nothing, torch.zeros(2, 0)),
    ):
        assert all(each.shape[:2] == (2, 0) for each in operation(place(matrices), "triton"))
