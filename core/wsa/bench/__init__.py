"""Bench: contenders for one computation, held to the truth and then timed."""

from __future__ import annotations

from wsa.bench.config import BenchConfig
from wsa.bench.report import Report, load_report, save_report
from wsa.bench.run import run

__all__ = ["BenchConfig", "Report", "load_report", "run", "save_report"]
