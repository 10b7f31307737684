from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from wsa_kernels import compilation
from wsa_kernels.absolute_sums import absolute_sums
from wsa_kernels.extrema import extrema
from wsa_kernels.fourier import fourier
from wsa_kernels.histogram import histogram
from wsa_kernels.moments import moments
from wsa_kernels.quantiles import quantiles

# torch's own, on its first compilation
pytestmark = pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")


@pytest.fixture(autouse=True)
def unasked() -> Iterator[None]:
    """Forget what was found out about the compiler, before and after."""
    forget()
    yield
    forget()


def forget() -> None:
    compilation._problems.clear()
    compilation.compiler_exists.cache_clear()


def double(values: Tensor) -> Tensor:
    return values * 2


def test_a_compiled_operation_agrees_with_its_reference_for_any_number_of_adapters(
    random_matrices: Any, pack_factors: Any
) -> None:
    everyone = pack_factors(random_matrices(5, 3, 8))
    found = absolute_sums(everyone, backend="compiled")
    each = [pack_factors(random_matrices(5, 3, 8)[i : i + 1]) for i in range(5)]
    alone = [absolute_sums(one, backend="compiled") for one in each]
    for field, values in enumerate(found):
        torch.testing.assert_close(values, absolute_sums(everyone)[field], rtol=1e-6, atol=1e-7)
        assert torch.equal(values, torch.cat([one[field] for one in alone]))
    assert compilation.problem() is None


def test_without_a_compiler_one_warning_and_the_same_numbers(
    random_matrices: Any, pack_factors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import cpp_builder, exc

    def nothing_found() -> str:
        raise exc.InvalidCxxCompiler()

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", nothing_found)
    matrices = pack_factors(random_matrices(5, 3, 8), random_matrices(5, 4, 8))
    with pytest.warns(compilation.CompileFallback, match="no C") as warned:
        found = extrema(matrices, backend="compiled")
        absolute_sums(matrices, backend="compiled")
    assert len(warned) == 1
    assert compilation.problem() == "no C++ compiler was found"
    assert all(torch.equal(a, b) for a, b in zip(found, extrema(matrices), strict=True))


def test_without_triton_a_gpu_computes_eagerly_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compilation, "find_spec", lambda name: None)
    with pytest.warns(compilation.CompileFallback, match="Triton is not installed"):
        assert not compilation.compiler_exists("cuda")
    assert compilation.problem() == "Triton is not installed"


def test_a_compilation_that_fails_is_computed_eagerly_and_the_reason_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch._inductor.exc import CppCompileError

    def failing(*_: Any) -> Tensor:
        raise CppCompileError(["c++"], "disk full")

    monkeypatch.setattr(compilation, "one_form", lambda function: failing)
    function = compilation.compiled(lambda values: values * 2)
    with pytest.warns(compilation.CompileFallback) as warned:
        found = [function(torch.ones(n, 3)) for n in (1, 2, 3)]
    assert [len(each) for each in found] == [1, 2, 3]
    assert len(warned) == 1
    assert "CppCompileError" in str(compilation.problem())


def test_errors_of_the_function_itself_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(values: Tensor) -> Tensor:
        raise ValueError("three columns are needed")

    monkeypatch.setattr(compilation, "one_form", lambda function: function)
    with pytest.raises(ValueError, match="three columns"):
        compilation.compiled(wrong)(torch.ones(2, 3))
    assert compilation.problem() is None


def test_every_shape_is_compiled_once_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def count(function: Any) -> Any:
        made.append(function)
        return function

    monkeypatch.setattr(compilation, "one_form", count)
    function = compilation.compiled(lambda values: values * 2)
    for rows in (1, 2, 7):
        for cols in (3, 4, 5):
            assert torch.equal(function(torch.ones(rows, cols)), torch.full((rows, cols), 2.0))
    assert len(made) == 3


def test_one_form_serves_every_size_above_one_where_any_shape_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_ = Mock(side_effect=lambda function: function)
    monkeypatch.setattr(compilation, "one_form", compile_)
    function = compilation.compiled(lambda values: values.sum(-1), any_shape=True)
    for shape in [(2, 3, 4), (5, 7, 9), (2, 1, 4), (3, 1, 8)]:
        assert torch.equal(function(torch.ones(shape)), torch.ones(shape).sum(-1))
    assert compile_.call_count == 2


def test_compiled_operations_agree_with_their_references_in_two_shapes(
    random_matrices: Any, pack_factors: Any
) -> None:
    matrices = pack_factors(random_matrices(5, 1, 40), random_matrices(5, 4, 12))
    for operation in (moments, quantiles, histogram, fourier):
        found, wanted = (operation(matrices, each) for each in ("compiled", "reference"))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert compilation.problem() is None


def test_shapes_have_code_of_their_own_so_that_no_recompile_limit_is_reached() -> None:
    forms: list[Any] = [compilation.one_form(double) for _ in range(2)]
    first, second = (form._torchdynamo_orig_callable.__code__ for form in forms)
    assert first is not second
    assert compilation.compiled(double) is compilation.compiled(double)
