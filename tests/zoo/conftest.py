from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsa.zoo import Recipe, make
from wsa.zoo.denoiser import Denoiser, new_denoiser
from wsa.zoo.images import Images, load


@pytest.fixture(scope="session")
def images() -> Images:
    return load()


@pytest.fixture
def net() -> Denoiser:
    return new_denoiser(torch.Generator().manual_seed(0)).requires_grad_(False)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    return Recipe(n=22, classes=2, rank=3, steps=2, base_steps=2)


@pytest.fixture(scope="session")
def tiny_zoo(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tiny, tmp_path_factory.mktemp("zoo") / "tiny")
