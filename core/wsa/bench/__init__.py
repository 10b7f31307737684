"""Bench: contenders for one computation, held to the truth and then timed."""

from __future__ import annotations

from wsa.bench.config import BenchConfig
from wsa.bench.duel import compared
from wsa.bench.preparation import refuse_lost, refuse_vain
from wsa.bench.record import load_report, save_report
from wsa.bench.report import Report
from wsa.bench.run import run

__all__ = [
    "BenchConfig",
    "Report",
    "compared",
    "load_report",
    "refuse_lost",
    "refuse_vain",
    "run",
    "save_report",
]
