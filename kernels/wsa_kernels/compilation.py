"""Compilation: torch.compile once per shape, and eager with one warning where it cannot."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Hashable
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
Batch = Tensor | tuple[Tensor, ...]


class CompileFallback(UserWarning):
    """torch.compile cannot be used here; the same numbers are computed eagerly, only slower."""


_problems: list[str] = []


def problem() -> str | None:
    """Say why nothing is compiled, or None where compiling works or was not yet asked for."""
    return _problems[0] if _problems else None


@cache
def compiled(function: Function, any_shape: bool = False) -> Function:
    """Return a form of a function that is compiled once per shape of its arguments.

    The first argument is a batch [B, ...] or a tuple of them, and the result one or a named tuple
    of them: B is dynamic, all else static. One piece of code then serves every B, the shorter last
    tile of a class included, so that no row's bytes depend on how many rows came with it. Further
    arguments are hashable, or tensors that have no batch axis.

    `any_shape` makes every size above 1 dynamic: one compilation for all shapes, at the same speed
    (2 s each is most of what a population's few shapes cost). It is for functions that do not take
    another way for every size; dynamo silently gives up on the ninth.
    """
    forms: dict[Hashable, Callable[..., Any]] = {}
    refused: list[Exception] = []

    def call(batch: Batch, *rest: Any) -> Any:
        if refused or not compiler_exists(_tensors(batch)[0].device.type):
            return function(batch, *rest)
        kinds = [_kind(each, any_shape) for each in _tensors(batch)]
        key = (*kinds, *(_kind(each) for each in rest))
        if key not in forms:
            forms[key] = one_form(function)
        try:
            return _with_dynamic_sizes(forms[key], batch, rest, any_shape)
        except _failures() as failure:
            refused.append(failure)
            _fall_back(f"{type(failure).__name__}: {_first_line(failure)}")
            return function(batch, *rest)

    return cast(Function, call)


def _with_dynamic_sizes(
    form: Callable[..., Any], batch: Batch, rest: tuple[Any, ...], any_shape: bool
) -> Any:
    if len(_tensors(batch)[0]) == 1:
        # torch compiles a batch of one apart from all others: a row alone goes with its double
        double = _map(batch, lambda each: torch.cat([each, each]))
        return _map(_with_dynamic_sizes(form, double, rest, any_shape), lambda each: each[:1])
    for each in _tensors(batch):
        sizes = each.shape if any_shape else each.shape[:1]
        dynamic = [axis for axis, size in enumerate(sizes) if axis == 0 or size > 1]
        torch._dynamo.mark_dynamic(each, dynamic)
    return form(batch, *rest)


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return (batch,) if isinstance(batch, Tensor) else batch


def _map(batch: Batch, change: Callable[[Tensor], Tensor]) -> Any:
    """Change every tensor of a batch, or of a named tuple of them."""
    if isinstance(batch, Tensor):
        return change(batch)
    return type(batch)(*(change(each) for each in batch))


def one_form(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function to be compiled for one set of shapes, none of them dynamic."""

    def entry(*arguments: Any) -> Any:
        return function(*arguments)

    # dynamo counts recompilations per code object and turns eager, silently, after eight of
    # them: every shape gets a code object of its own
    own = types.FunctionType(
        entry.__code__.replace(), entry.__globals__, "entry", None, entry.__closure__
    )
    form: Callable[..., Any] = torch.compile(own, dynamic=False)
    return form


def _kind(argument: Any, any_shape: bool | None = None) -> Hashable:
    """Return what must be equal for two arguments, batches or not, to share compiled code."""
    if not isinstance(argument, Tensor):
        return cast(Hashable, argument)
    shape = argument.shape if any_shape is None else argument.shape[1:]
    sizes = tuple(size == 1 for size in shape) if any_shape else tuple(shape)
    return (sizes, argument.dtype, argument.device.type)


@cache
def compiler_exists(device: str) -> bool:
    """Ask once whether code for a device can be built.

    On the CPU that takes a C++ compiler, elsewhere Triton, for torch.compile as for our kernels.
    """
    if device != "cpu":
        return find_spec("triton") is not None or _fall_back("Triton is not installed")
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return _fall_back("no C++ compiler was found")
    return True


def _failures() -> tuple[type[Exception], ...]:
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler
    from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

    return (TorchDynamoException, CppCompileError, InvalidCxxCompiler, ConstraintViolationError)


def _fall_back(reason: str) -> bool:
    _problems.append(reason)
    if len(_problems) == 1:
        message = f"nothing is compiled ({reason}); computing eagerly"
        warnings.warn(message, CompileFallback, stacklevel=4)
    return False


def _first_line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or [""])[0]
