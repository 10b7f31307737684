"""The packed classifier: S seeds of one small network, trained at once and resumable."""

from __future__ import annotations

from wsa.train.compiling import USUAL_EPOCHS
from wsa.train.config import CONDITIONS, TrainConfig
from wsa.train.goal import CLASSES, KINDS, ORDINAL, PRIMARY, REGRESSION, Goal
from wsa.train.heads import HEADS, MLP, fit_head, known_head
from wsa.train.loop import train
from wsa.train.metrics import majority, summarise
from wsa.train.numbers import mean_control
from wsa.train.outcome import CURE, Outcome, Run
from wsa.train.scores import per_adapter
from wsa.train.split import PARTS, Split, make_split

__all__ = [
    "CLASSES",
    "CONDITIONS",
    "CURE",
    "HEADS",
    "KINDS",
    "MLP",
    "ORDINAL",
    "PARTS",
    "PRIMARY",
    "REGRESSION",
    "USUAL_EPOCHS",
    "Goal",
    "Outcome",
    "Run",
    "Split",
    "TrainConfig",
    "fit_head",
    "known_head",
    "majority",
    "make_split",
    "mean_control",
    "per_adapter",
    "summarise",
    "train",
]
