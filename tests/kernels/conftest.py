"""What the tests of every operation share: random matrices, packed populations, one comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from wsa_kernels.layout import Layout
from wsa_kernels.matrices import Delta, Factors

# where Triton is not installed there are no kernels to look at
collect_ignore = [] if find_spec("triton") else ["fused", "test_fused.py", "test_machine_code.py"]

PackFactors = Callable[..., Factors]
PackDelta = Callable[..., Delta]
Agree = Callable[..., None]


@pytest.fixture
def random_matrices() -> Callable[..., Tensor]:
    def draw(*shape: int, seed: int = 0) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture
def pack_factors() -> PackFactors:
    """Pack matrices, one [N, rows, cols] for each layer."""

    def pack(*layers: Tensor) -> Factors:
        return _pack(layers, ())

    return pack


@pytest.fixture
def pack_delta() -> PackDelta:
    """Pack modules, one (up [N, out, R], down [N, R, in]) for each; scale is 1 unless given."""

    def pack(*modules: tuple[Tensor, Tensor], scale: Tensor | None = None) -> Delta:
        layers = [factor for module in modules for factor in module]
        pairs = [(2 * m, 2 * m + 1) for m in range(len(modules))]
        packed = _pack(layers, pairs)
        ones = torch.ones(len(packed.flat), len(modules))
        return Delta(packed.flat, packed.layout, ones if scale is None else scale)

    return pack


@pytest.fixture
def agree() -> Agree:
    """Compare with a tolerance relative to the greatest expected value."""

    def check(found: Tensor, expected: ArrayLike, tolerance: float) -> None:
        wanted = np.asarray(expected, dtype=np.float64)
        scale = float(np.abs(wanted).max(initial=0.0))
        np.testing.assert_allclose(found.double().numpy(), wanted, rtol=0, atol=tolerance * scale)

    return check


def _pack(layers: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> Factors:
    layout = Layout.plan([(each.shape[1], each.shape[2]) for each in layers], pairs)
    flat = torch.zeros(len(layers[0]), layout.size, dtype=layers[0].dtype)
    for offset, layer in zip(layout.offsets, layers, strict=True):
        flat[:, offset : offset + layer[0].numel()] = layer.flatten(1)
    return Factors(flat, layout)
