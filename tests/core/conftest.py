"""What the tests of a run share: a small configuration over a small population."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MakeDataset

from wsa.experiment import RunConfig

Configure = Callable[..., RunConfig]


@pytest.fixture
def configure(make_dataset: MakeDataset, tmp_path: Path) -> Configure:
    def make(**knobs: Any) -> RunConfig:
        change = knobs.pop("change", lambda columns: None)
        folder = make_dataset(n=knobs.pop("n", 60), change=change)
        small = RunConfig(
            dataset=str(folder),
            plugins=("stats", "profile"),
            num_runs=2,
            hidden_dim=16,
            max_epochs=4,
            output_dir=tmp_path / "out",
            cache_dir=tmp_path / "cache",
        )
        return replace(small, **knobs)

    return make
