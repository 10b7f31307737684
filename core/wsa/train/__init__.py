"""The packed classifier: S seeds of one small network, trained at once and resumable."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsa.train.config import TrainConfig
    from wsa.train.loop import train
    from wsa.train.metrics import majority, summarise
    from wsa.train.outcome import Outcome, Run
    from wsa.train.split import Split, make_split

__all__ = ["Outcome", "Run", "Split", "TrainConfig", "majority", "make_split", "summarise", "train"]

_HOMES = {
    "Outcome": "outcome",
    "Run": "outcome",
    "Split": "split",
    "TrainConfig": "config",
    "majority": "metrics",
    "make_split": "split",
    "summarise": "metrics",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads TrainConfig and must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
