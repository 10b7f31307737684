"""Every knob of the trainer, as one checked value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsa.errors import need

# What may change between two sittings of one job: it changes bits, never the job.
CONDITIONS = ("amp", "compile", "graph", "stream", "checkpoint_seconds")
# BatchNorm knows no variance of one adapter.
LEAST_BATCH = 2
# A slip of the keyboard is told, not begun: of 1e15 torch cannot count the bytes.
WIDEST = 1 << 24


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a classifier is trained; a condition that is None is chosen as the device deserves.

    `graph` replays the step as a CUDA graph; `stream` keeps the features in the host's memory.
    """

    hidden_dim: int = 512
    dropout: float = 0.5
    weight_decay: float = 1e-4
    learning_rate: float = 3e-3
    batch_size: int = 256
    max_epochs: int = 200
    patience: int = 15
    amp: bool | None = None
    compile: bool | None = None
    graph: bool | None = None
    stream: bool | None = None
    checkpoint_seconds: float = 10.0

    def __post_init__(self) -> None:
        wide = 2 <= self.hidden_dim <= WIDEST
        need(wide, "--hidden-dim", f"2 to {WIDEST}", self.hidden_dim)
        need(0 <= self.dropout < 1, "--dropout", "from 0 to below 1", self.dropout)
        need(0 <= self.weight_decay < math.inf, "--weight-decay", "0 or more", self.weight_decay)
        rate = self.learning_rate
        need(0 < rate < math.inf, "--learning-rate", "a finite number above 0", rate)
        need(
            self.batch_size >= LEAST_BATCH,
            "--batch-size",
            "at least 2, as BatchNorm knows no variance of one adapter",
            self.batch_size,
        )
        need(self.max_epochs >= 1, "--max-epochs", "at least 1", self.max_epochs)
        need(self.patience >= 1, "--patience", "at least 1 epoch", self.patience)
        seconds = self.checkpoint_seconds
        need(seconds >= 0, "number of seconds between checkpoints", "0 or more", seconds)
