"""Record: a report as a file, written in a directory by machine and date, and read back whole."""

from __future__ import annotations

import datetime
import json
import math
import re
from pathlib import Path
from typing import Any

from wsa.bench.report import SCHEMA, STATISTICS, Report
from wsa.errors import WsaError
from wsa.storage import refusals, write_json

TEXTS = ("contest", "case", "backend", "view", "dtype", "device", "shape", "limiter")
AMOUNTS = ("bytes", "flops", "bytes_per_second", "share_of_copy", "floor_seconds", "max_error")
COUNTS = ("adapters", "adapters_timed", "rounds", "launches", "rank")
SECONDS = ("median", "p20", "p80")
PARTS = ("failures", "left_out", "machine_info", "rates")


class _Malformed(ValueError):
    """A file that is not what `save_report` wrote, and where."""


def save_report(report: Report, place: Path) -> Path:
    """Write a report, in a directory under the machine's name and the date; return its path."""
    path = place
    if place.suffix != ".json":
        machine = re.sub(r"[^a-z0-9]+", "-", report.document["machine_info"]["device"].lower())
        with refusals(place):
            place.mkdir(parents=True, exist_ok=True)
        path = place / f"{machine.strip('-')}-{datetime.date.today()}.json"
    write_json(path, report.document)
    return path


def load_report(path: Path) -> Report:
    """Read what `wsa bench --json` wrote; raises WsaError for anything else."""
    try:
        document = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        _hold(isinstance(document, dict) and "schema" in document, "it has no schema")
        schema = document["schema"]
        _hold(schema == SCHEMA, f"it is of schema {schema!r}, this is {SCHEMA!r}; measure again")
        _refuse_malformed(document)
    except _Malformed as problem:
        raise WsaError(
            f"--compare needs a file written by wsa bench --json; {path} is none: {problem}"
        ) from problem
    except (OSError, ValueError, RecursionError) as problem:
        raise WsaError(f"--compare cannot read {path}: {problem}") from problem
    return Report(document, document["failures"], document["left_out"])


def _refuse_malformed(document: dict[str, Any]) -> None:
    _hold(isinstance(document.get("benchmarks"), list), "benchmarks is no list")
    for part in PARTS:
        _hold(isinstance(document.get(part), dict), f"{part} is no dict")
    _hold(isinstance(document["machine_info"].get("device"), str), "machine_info has no device")
    for rate in ("copy", "product", "best_copy", "best_product"):
        _hold(_is_amount(document["rates"].get(rate), above=0), f"rates has no {rate}")
    for place, each in enumerate(document["benchmarks"]):
        row = each.get("extra_info") if isinstance(each, dict) else None
        _refuse_malformed_row(row, f"benchmark {place}: ")


def _refuse_malformed_row(row: Any, where: str) -> None:
    _hold(isinstance(row, dict), f"{where}extra_info is no dict")
    for name in TEXTS:
        _hold(isinstance(row.get(name), str), f"{where}{name} is no text")
    for name in (*AMOUNTS, *COUNTS):
        _hold(_is_amount(row.get(name)), f"{where}{name} is no amount")
    for name in SECONDS:
        _hold(_is_amount(row.get(name), above=0), f"{where}{name} is no time")
    _hold(isinstance(row.get("gated"), bool), f"{where}gated is neither true nor false")
    own = row.get("own")
    whole = isinstance(own, dict) and all(_is_amount(own.get(each), above=0) for each in STATISTICS)
    _hold(whole, f"{where}own lacks a time")


def _is_amount(value: object, above: float = -1) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > above  # type: ignore[arg-type, operator]


def _hold(holds: bool, problem: str) -> None:
    if not holds:
        raise _Malformed(problem)


def _refuse_constant(literal: str) -> None:
    raise _Malformed(f"it holds {literal}")
