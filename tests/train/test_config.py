from __future__ import annotations

from typing import Any

import pytest

from wsa.errors import WsaError
from wsa.train import TrainConfig


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"hidden_dim": 1}, "--hidden-dim needs 2 to 16777216; got 1"),
        ({"dropout": 1.0}, "--dropout needs from 0 to below 1; got 1.0"),
        ({"dropout": float("nan")}, "--dropout needs from 0 to below 1; got nan"),
        ({"weight_decay": -0.1}, "--weight-decay needs 0 or more; got -0.1"),
        ({"learning_rate": 0.0}, "--learning-rate needs a finite number above 0; got 0.0"),
        ({"learning_rate": float("inf")}, "--learning-rate needs a finite number above 0; got inf"),
        ({"batch_size": 1}, "--batch-size needs at least 2, as BatchNorm knows no variance of one"),
        ({"max_epochs": 0}, "--max-epochs needs at least 1; got 0"),
        ({"patience": 0}, "--patience needs at least 1 epoch; got 0"),
        ({"checkpoint_seconds": -1.0}, "seconds between checkpoints needs 0 or more; got -1.0"),
    ],
)
def test_a_knob_out_of_range_is_named(knob: dict[str, Any], message: str) -> None:
    with pytest.raises(WsaError, match=message):
        TrainConfig(**knob)
