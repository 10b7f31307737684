from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from tests.plugins.agreement import representation
from tests.plugins.oracle import REPRESENTATIONS
from tests.plugins.populations import MODULES, build
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wsa.layers import DELTA, FACTORS
from wsa_kernels.operation import Operation

SMALL = build(MODULES, adapters=("gaussian", "heavy", "shifted"))
COSTLY = ("sort", "topk", "kthvalue", "quantile", "linalg", "fft")
NUMPY = [(np, "sort"), (np, "partition"), (np.fft, "rfftn"), (np.fft, "rfft2")]
NUMPY += [(np.linalg, name) for name in ("eigh", "eigvalsh", "svd", "qr", "cholesky")]


class CostlyCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count sorts, decompositions and transforms, of torch and of numpy, by what they are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[tuple[str, bytes]] = Counter()
        for module, name in NUMPY:
            monkeypatch.setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.counts[function.__name__, digest(args)] += 1
            return function(*args, **kwargs)

        return call

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if any(word in str(func) for word in COSTLY):
            self.counts[str(func), digest(args)] += 1
        return func(*args, **(kwargs or {}))

    @property
    def repeated(self) -> dict[str, int]:
        """Count the calls that computed again what was known, by name."""
        found: Counter[str] = Counter()
        for (name, _), count in self.counts.items():
            found[name] += count - 1
        return {name: count for name, count in found.items() if count}


def digest(arguments: tuple[Any, ...]) -> bytes:
    """Reduce arguments to their contents."""
    found = sha256()
    for argument in arguments:
        if isinstance(argument, Tensor | np.ndarray):
            found.update(np.asarray(argument).tobytes())
            argument = argument.shape
        found.update(repr(argument).encode())
    return found.digest()


def count_forms(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each operation's form is really run."""
    runs: Counter[str] = Counter()
    form = Operation.form

    def counted(self: Operation[Any], backend: str) -> Callable[..., Any]:
        runs[self.name] += 1
        return form(self, backend)

    monkeypatch.setattr(Operation, "form", counted)
    return runs


@pytest.mark.parametrize("view", [FACTORS, DELTA])
def test_no_operation_runs_twice_in_a_shard_whoever_asks(
    view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = count_forms(monkeypatch)
    for names in [*combinations(REPRESENTATIONS, 2), tuple(REPRESENTATIONS)]:
        runs.clear()
        batch = SMALL.batch(view)
        for name in names * 2:
            representation(name).extract(batch)
        assert set(runs.values()) == {1}, names


@pytest.mark.parametrize("view", [FACTORS, DELTA])
def test_nothing_costly_is_computed_twice_from_the_same_numbers(
    view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, calls = SMALL.batch(view), CostlyCalls(monkeypatch)
    with calls:
        for name in REPRESENTATIONS:
            representation(name).extract(batch)
    assert calls.counts
    assert calls.repeated == {}


@pytest.mark.parametrize("view", [FACTORS, DELTA])
def test_features_are_the_same_bytes_alone_and_in_company(view: str) -> None:
    together = SMALL.batch(view)
    for name in REPRESENTATIONS:
        alone = representation(name).extract(SMALL.batch(view))
        assert torch.equal(representation(name).extract(together), alone)
