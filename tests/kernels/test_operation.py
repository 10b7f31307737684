from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wsa_kernels.matrices import TILE_BYTES, Delta, Factors
from wsa_kernels.operation import Operation

NAMES = (
    "absolute_sums",
    "extrema",
    "fourier",
    "histogram",
    "moments",
    "quantiles",
    "row_col_norms",
    "spectrum",
)
# columns and rows of r = 1, odd sizes that no alignment favours, ranks on both sides of 1
MODULES = [(33, 1, 47), (33, 3, 47), (33, 3, 47), (130, 1, 129), (130, 8, 129), (2, 5, 3)]


def operation(name: str) -> Operation[Any]:
    found: Operation[Any] = getattr(import_module(f"wsa_kernels.{name}"), name)
    return found


def rows(matrices: Factors | Delta, part: slice) -> Factors | Delta:
    flat = matrices.flat[part].clone()
    if isinstance(matrices, Delta):
        return Delta(flat, matrices.layout, matrices.scale[part])
    return Factors(flat, matrices.layout)


def both_views(random_matrices: Any, pack_delta: Any, count: int) -> list[Factors | Delta]:
    modules = [
        (random_matrices(count, out, rank, seed=m), random_matrices(count, rank, into, seed=-m))
        for m, (out, rank, into) in enumerate(MODULES)
    ]
    scale = random_matrices(count, len(modules), seed=99)
    delta = pack_delta(*modules, scale=scale)
    return [Factors(delta.flat, delta.layout), delta]


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_has_its_forms_under_the_usual_names(name: str) -> None:
    module, found = import_module(f"wsa_kernels.{name}"), operation(name)
    assert found.name == name
    assert found.form("reference") is getattr(module, f"{name}_reference")
    assert found.form("compiled") is getattr(module, f"{name}_compiled")
    assert found.triton is getattr(module, f"{name}_triton")
    with pytest.raises(ValueError, match=f"{name} has no 'loop' form"):
        found.form("loop")


def test_on_the_cpu_nothing_is_compiled_unasked(random_matrices: Any, pack_factors: Any) -> None:
    assert operation("extrema").best(pack_factors(random_matrices(2, 3, 4))) == "reference"


@pytest.mark.parametrize(
    ("dtype", "triton", "best"),
    [
        (torch.float16, True, "triton"),
        (torch.float64, True, "compiled"),
        (torch.float32, False, "compiled"),
    ],
)
def test_on_a_gpu_kernels_read_what_they_can_and_the_rest_is_compiled(
    dtype: torch.dtype, triton: bool, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa_kernels.operation.compiler_exists", lambda device: triton)
    there: Any = SimpleNamespace(flat=SimpleNamespace(is_cuda=True, dtype=dtype))
    assert operation("extrema").best(there) == best


def test_kernels_refuse_float64(random_matrices: Any, pack_factors: Any) -> None:
    with pytest.raises(ValueError, match=r"fp32, fp16 and bf16; got torch\.float64"):
        operation("extrema")(pack_factors(random_matrices(2, 3, 4).double()), "triton")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("view", [0, 1], ids=["factors", "delta"])
@pytest.mark.parametrize("name", NAMES)
def test_an_adapters_bytes_do_not_depend_on_its_shard(
    name: str, view: int, threads: int, random_matrices: Any, pack_delta: Any
) -> None:
    matrices = both_views(random_matrices, pack_delta, 5)[view]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    whole = operation(name)(matrices)
    for part in (slice(0, 1), slice(1, 3), slice(4, 5)):
        alone = operation(name)(rows(matrices, part))
        assert all(torch.equal(a, b[part]) for a, b in zip(alone, whole, strict=True))
    torch.set_num_threads(before)


@pytest.mark.parametrize("view", [0, 1], ids=["factors", "delta"])
@pytest.mark.parametrize("name", NAMES)
def test_bytes_do_not_depend_on_the_size_of_a_tile(
    name: str, view: int, random_matrices: Any, pack_delta: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices = both_views(random_matrices, pack_delta, 5)[view]
    whole = operation(name)(matrices)
    monkeypatch.setattr("wsa_kernels.matrices.TILE_BYTES", TILE_BYTES // 64)
    tiled = operation(name)(matrices)
    assert all(torch.equal(a, b) for a, b in zip(tiled, whole, strict=True))


@pytest.mark.parametrize("view", [0, 1], ids=["factors", "delta"])
@pytest.mark.parametrize("name", NAMES)
def test_a_form_writes_every_layer_and_keeps_the_dtype(
    name: str, view: int, random_matrices: Any, pack_delta: Any
) -> None:
    matrices = both_views(random_matrices, pack_delta, 2)[view]
    for found in operation(name)(matrices):
        assert found.shape[:2] == (2, matrices.count)
        assert found.dtype == torch.float32
        assert found.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_no_adapters_give_no_rows(name: str, random_matrices: Any, pack_delta: Any) -> None:
    for matrices in both_views(random_matrices, pack_delta, 2):
        empty = operation(name)(rows(matrices, slice(0, 0)))
        assert all(found.shape[:2] == (0, matrices.count) for found in empty)
