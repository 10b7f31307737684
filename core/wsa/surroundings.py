"""Surroundings: what every plugin shares, put back after each call, and what was not as before.

torch, numpy and Python keep much that decides numbers in one place for all: the default dtype, the
number of threads, random states, the functions themselves. What one plugin changes there, the
others would compute with.
"""

from __future__ import annotations

import contextlib
import operator
import os
import random
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn, TextIO, cast

# modules whose functions others call; and all of wsa's
SHARED = ("torch", "torch.linalg", "torch.fft", "torch.nn.functional", "numpy", "numpy.linalg")
OWN = ("wsa", "wsa_kernels", "wsa_plugins")
# what CPython starts with
RECURSION_LIMIT = 1000
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)

_lingering: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class Setting(NamedTuple):
    """One thing that all share: what it is called, how it is read, and how it is put back."""

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], object]
    is_told: bool = True  # a random state says nothing to a reader


@contextmanager
def kept() -> Iterator[list[str]]:
    """Put everything back at the end; the list then says what had been changed, and to what."""
    found: list[str] = []
    settings = [*_of_python(), *_of_numpy(), *_of_torch()]
    before = [each.read() for each in settings]
    functions = _functions()
    try:
        yield found
    finally:
        for setting, value in zip(settings, before, strict=True):
            now = setting.read()
            if not _same(value, now):
                setting.put_back(value)
                told = f" from {_short(value)} to {_short(now)}" if setting.is_told else ""
                found.append(f"{setting.name}{told}")
        found += _repaired(functions)


@contextmanager
def silent(talk: TextIO | Overheard) -> Iterator[None]:
    """Keep standard output for results: Python prints to `talk`, C to standard error."""
    with contextlib.redirect_stdout(cast(TextIO, talk)), contextlib.ExitStack() as ending:
        # without the two there is nothing to keep apart
        with contextlib.suppress(OSError):
            before = os.dup(STANDARD_OUTPUT)
            ending.callback(os.close, before)
            os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
            ending.callback(os.dup2, before, STANDARD_OUTPUT)
        yield


class Overheard:
    """A stream that lets everything through, and keeps how what was written to it began."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.beginning = stream, ""

    def write(self, text: str) -> int:
        """Write, and remember the first words."""
        self.beginning = (self.beginning + text)[:40].lstrip()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def threads_noticed() -> Iterator[list[str]]:
    """List the threads that were started and are still alive.

    A thread cannot be ended from outside: `lingering` names those that are left at the end.
    """
    before, found = set(threading.enumerate()), list[str]()
    try:
        yield found
    finally:
        # an idle pool's threads end by themselves
        started = [t for t in threading.enumerate() if t not in before and not _of_pool(t)]
        found += [each.name for each in started]
        _lingering.update(each for each in started if not each.daemon)


@contextmanager
def not_ended() -> Iterator[None]:
    """Let `os._exit`, which ends a run without a word, raise SystemExit; in a fork it ends that.

    What ends a process from C, or by a signal, takes a process of its own to be survived.
    """
    ending, process = os._exit, os.getpid()

    def refused(status: int) -> NoReturn:
        if os.getpid() != process:
            ending(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = refused
    try:
        yield
    finally:
        os._exit = ending


def lingering() -> list[str]:
    """Name the threads of plugins that would keep the process from ending."""
    return sorted(each.name for each in list(_lingering) if each.is_alive())


def _of_pool(thread: threading.Thread) -> bool:
    home = getattr(getattr(thread, "_target", None), "__module__", "")
    return str(home).startswith("concurrent.futures")


def _of_python() -> Iterator[Setting]:
    yield Setting("Python's random state", random.getstate, random.setstate, False)
    yield Setting("the working directory", _directory, os.chdir)
    yield Setting("Python's recursion limit", _deepest, sys.setrecursionlimit)
    # only the main thread may set one
    if threading.current_thread() is threading.main_thread():
        for number in _HANDLED:
            put_back = partial(signal.signal, number)
            read = partial(signal.getsignal, number)
            yield Setting(f"the handler of {number.name}", read, put_back, False)


def _of_numpy() -> Iterator[Setting]:
    import numpy as np

    yield Setting("numpy's random state", np.random.get_state, np.random.set_state, False)
    yield Setting("numpy's handling of errors", np.geterr, lambda value: np.seterr(**value))


def _of_torch() -> Iterator[Setting]:
    import torch

    yield Setting("torch's random state", torch.get_rng_state, torch.set_rng_state, False)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states = torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all
        yield Setting("CUDA's random state", *states, False)
    yield Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype)
    yield Setting("torch's default device", torch.get_default_device, _put_back_device)
    yield Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads)
    yield Setting("torch's gradient mode", torch.is_grad_enabled, _put_back_gradients)
    yield Setting("torch's deterministic mode", _deterministic, _put_back_deterministic)
    precision = torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    yield Setting("torch's precision of products", *precision)
    yield Setting("torch's denormal numbers", _denormals, _put_back_denormals)
    for device in ("cpu", "cuda"):
        read = partial(torch.is_autocast_enabled, device)
        put_back = partial(torch.set_autocast_enabled, device)
        yield Setting(f"torch's autocast on {device}", read, put_back)


def _deepest() -> int:
    # torch.compile raises it, which harms nobody
    return min(sys.getrecursionlimit(), RECURSION_LIMIT)


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _put_back_device(device: Any) -> None:
    import torch

    # without any, and not with the CPU's name: that would put a mode around every call of torch
    torch.set_default_device(None)
    if torch.get_default_device() != device:
        torch.set_default_device(device)


def _put_back_gradients(value: bool) -> None:
    import torch

    torch.set_grad_enabled(value)


def _deterministic() -> tuple[bool, bool]:
    import torch

    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _put_back_deterministic(value: tuple[bool, bool]) -> None:
    import torch

    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _denormals() -> bool:
    import torch

    # torch has no getter
    return bool(torch.full((1,), 5e-324, dtype=torch.float64, device="cpu").mul(1) != 0)


def _put_back_denormals(value: bool) -> None:
    import torch

    torch.set_flush_denormal(not value)


def _functions() -> list[tuple[Any, dict[str, Any]]]:
    import torch

    modules = [
        module
        for name, module in list(sys.modules.items())
        if module is not None and (name in SHARED or name.startswith(OWN))
    ]
    return [(owner, dict(vars(owner))) for owner in (*modules, torch.Tensor)]


def _repaired(functions: list[tuple[Any, dict[str, Any]]]) -> list[str]:
    """Put back functions that are others than before; what is no function may change."""
    found = []
    for owner, before in functions:
        now = vars(owner)
        # 6,000 names in 0.1 ms; one by one they take six times as long
        if len(now) == len(before) and all(map(operator.is_, now.values(), before.values())):
            continue
        for name in [name for name, value in before.items() if now.get(name) is not value]:
            if callable(before[name]) and not _is_own(owner, now.get(name)):
                setattr(owner, name, before[name])
                found.append(f"the function {owner.__name__}.{name}")
        for name in _shadowing(owner, now, before):
            delattr(owner, name)
            found.append(f"the function {owner.__name__}.{name}")
    return found


def _is_own(owner: Any, function: Any) -> bool:
    """Tell whether a function is of its owner's own package, which may well be lazy."""
    written_in = getattr(function, "__globals__", {}).get("__name__")
    home = written_in or getattr(function, "__module__", None) or ""
    package = getattr(owner, "__module__", owner.__name__) or owner.__name__
    return bool(home.split(".")[0] == package.split(".")[0])


def _shadowing(owner: Any, now: Any, before: dict[str, Any]) -> list[str]:
    """Name what was added to a class before the methods it inherits."""
    if not isinstance(owner, type):
        return []
    added = [name for name in now if name not in before]
    return [name for name in added if any(hasattr(base, name) for base in owner.__bases__)]


def _same(one: Any, other: Any) -> bool:
    import numpy as np
    import torch

    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, list | tuple):  # numpy's random state, CUDA's of every device
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _short(value: Any) -> str:
    return str(value)[:60]
