"""What the tests of the trainer share: planted classes, a plain split, small networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wsa.train import Split, TrainConfig

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]


@pytest.fixture
def planted() -> Planted:
    """Draw [N, D] features of K Gaussian classes, and their labels."""

    def draw(
        adapters: int = 80, columns: int = 12, classes: int = 4, signal: float = 1.0, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        source = torch.Generator().manual_seed(seed)
        labels = torch.arange(adapters) % classes
        centres = signal * torch.randn(classes, columns, generator=source)
        return centres[labels] + torch.randn(adapters, columns, generator=source), labels

    return draw


@pytest.fixture
def plain_split() -> PlainSplit:
    """Give the last adapters to val and test, each a fifth, at least one."""

    def make(adapters: int, held: int | None = None) -> Split:
        count = max(1, adapters // 5) if held is None else held
        assignment = np.zeros(adapters, dtype=np.int8)
        assignment[-2 * count : -count] = 1
        assignment[-count:] = 2
        return Split(assignment)

    return make


@pytest.fixture
def small_config() -> SmallConfig:
    """Make a config small enough for a test: hidden 16, batch 16, a few epochs."""

    def make(**changes: Any) -> TrainConfig:
        knobs: dict[str, Any] = {"hidden_dim": 16, "batch_size": 16, "max_epochs": 8} | changes
        return TrainConfig(**knobs)

    return make
