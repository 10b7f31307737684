from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from wsa.errors import WsaError
from wsa.train import TrainConfig


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"hidden_dim": 1}, "hidden dimension must be at least 2; got 1"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1; got 1.0"),
        ({"dropout": float("nan")}, "dropout must be from 0 to below 1; got nan"),
        ({"weight_decay": -0.1}, "weight decay must be 0 or more; got -0.1"),
        ({"learning_rate": 0.0}, "learning rate must be above 0; got 0.0"),
        ({"batch_size": 1}, "batch size must be at least 2, as BatchNorm knows no variance of one"),
        ({"max_epochs": 0}, "number of epochs must be at least 1; got 0"),
        ({"patience": 0}, "patience must be at least 1 epoch; got 0"),
        ({"checkpoint_seconds": -1.0}, "seconds between checkpoints must be 0 or more; got -1.0"),
    ],
)
def test_a_knob_out_of_range_is_named(knob: dict[str, Any], message: str) -> None:
    with pytest.raises(WsaError, match=message):
        TrainConfig(**knob)


def test_the_command_line_can_read_the_knobs_without_torch() -> None:
    code = "import sys; from wsa.train import TrainConfig; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_of_the_package_is_refused() -> None:
    import wsa.train

    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        _ = wsa.train.fit
