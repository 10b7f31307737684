from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from itertools import combinations
from typing import Any

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
COSTLY = ("sort", "linalg", "fft", "kthvalue", "quantile", "topk", "histc")


class CostlyCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count sorts, decompositions and transforms, by what they were given."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[tuple[str, bytes]] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = str(func)
        if any(word in name for word in COSTLY):
            self.counts[name, digest(args)] += 1
        return func(*args, **(kwargs or {}))


def digest(arguments: tuple[Any, ...]) -> bytes:
    """Reduce arguments to their contents."""
    found = sha256()
    for argument in arguments:
        tensor = isinstance(argument, Tensor)
        found.update(argument.contiguous().numpy().tobytes() if tensor else b"")
        found.update(repr(tuple(argument.shape) if tensor else argument).encode())
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
def test_nothing_costly_is_computed_twice_from_the_same_numbers(view: str) -> None:
    batch, calls = SMALL.batch(view), CostlyCalls()
    with calls, torch.no_grad():
        for name in REPRESENTATIONS:
            representation(name).extract(batch)
    assert calls.counts
    assert [name for (name, _), count in calls.counts.items() if count > 1] == []


@pytest.mark.parametrize("view", [FACTORS, DELTA])
def test_features_are_the_same_bytes_alone_and_in_company(view: str) -> None:
    together = SMALL.batch(view)
    for name in REPRESENTATIONS:
        alone = representation(name).extract(SMALL.batch(view))
        assert torch.equal(representation(name).extract(together), alone)
