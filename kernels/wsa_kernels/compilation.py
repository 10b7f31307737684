"""Compilation: torch.compile once per shape, and eager with one warning where it cannot."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


class CompileFallback(UserWarning):
    """torch.compile cannot be used here; the same numbers are computed eagerly, only slower."""


_problems: list[str] = []


def problem() -> str | None:
    """Say why nothing is compiled, or None where compiling works or was not yet asked for."""
    return _problems[0] if _problems else None


@cache
def compiled(function: Function) -> Function:
    """Return a form of a function that is compiled once per shape of its arguments.

    The first argument is a batch [B, ...], and the result one or a named tuple of them: B is
    dynamic, all else static. One piece of code then serves every B, the shorter last tile of a
    class included, so that no row's bytes depend on how many rows came with it. Further arguments
    are hashable, or tensors that have no batch axis.
    """
    forms: dict[Hashable, Callable[..., Any]] = {}
    refused: list[Exception] = []

    def call(batch: Tensor, *rest: Any) -> Any:
        if refused or not _compiler_exists(batch.device.type):
            return function(batch, *rest)
        key = (_kind(batch, batch.shape[1:]), *(_kind(each) for each in rest))
        if key not in forms:
            forms[key] = _compile(function)
        try:
            return _with_dynamic_batch(forms[key], batch, rest)
        except _failures() as failure:
            refused.append(failure)
            _fall_back(f"{type(failure).__name__}: {_first_line(failure)}")
            return function(batch, *rest)

    return cast(Function, call)


def _with_dynamic_batch(form: Callable[..., Any], batch: Tensor, rest: tuple[Any, ...]) -> Any:
    if len(batch) == 1:
        # torch compiles a batch of one apart from all others: a row alone goes with its double
        return _first(_with_dynamic_batch(form, torch.cat([batch, batch]), rest))
    torch._dynamo.mark_dynamic(batch, 0)
    return form(batch, *rest)


def _first(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result[:1]
    return type(result)(*(each[:1] for each in result))


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    def entry(*arguments: Any) -> Any:
        return function(*arguments)

    # dynamo counts recompilations per code object and turns eager, silently, after eight of
    # them: every shape gets a code object of its own
    own = types.FunctionType(
        entry.__code__.replace(), entry.__globals__, "entry", None, entry.__closure__
    )
    form: Callable[..., Any] = torch.compile(own, dynamic=False)
    return form


def _kind(argument: Any, shape: torch.Size | None = None) -> Hashable:
    """Return what must be equal for two arguments to share compiled code."""
    if isinstance(argument, Tensor):
        return (shape or argument.shape, argument.dtype, argument.device.type)
    found: Hashable = argument
    return found


@cache
def _compiler_exists(device: str) -> bool:
    """Ask once whether code for a device can be built; on the CPU that takes a C++ compiler."""
    if device != "cpu":
        return True
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        _fall_back("no C++ compiler was found")
        return False
    return True


def _failures() -> tuple[type[Exception], ...]:
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler
    from torch.fx.experimental.symbolic_shapes import ConstraintViolationError

    return (TorchDynamoException, CppCompileError, InvalidCxxCompiler, ConstraintViolationError)


def _fall_back(reason: str) -> None:
    _problems.append(reason)
    if len(_problems) == 1:
        message = f"torch.compile is not used ({reason}); computing eagerly"
        warnings.warn(message, CompileFallback, stacklevel=4)


def _first_line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or [""])[0]
