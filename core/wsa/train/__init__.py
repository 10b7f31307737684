"""The packed classifier: S seeds of one small network, trained at once and resumable."""

from __future__ import annotations

from wsa.train.config import CONDITIONS, TrainConfig
from wsa.train.loop import train
from wsa.train.metrics import majority, summarise
from wsa.train.outcome import Outcome, Run
from wsa.train.split import PARTS, Split, make_split

__all__ = [
    "CONDITIONS",
    "PARTS",
    "Outcome",
    "Run",
    "Split",
    "TrainConfig",
    "majority",
    "make_split",
    "summarise",
    "train",
]
