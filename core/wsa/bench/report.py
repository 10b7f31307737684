"""Report: what was measured, one row a contender, and all that follows from it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from wsa.bench.entry import Entry
from wsa.bench.machine import Rates

SCHEMA = "wsa bench 2"
# Three views of the same rounds: what only one of them shows is noise.
STATISTICS = ("median", "p20", "least")
# What pytest-benchmark tells in seconds; `ops` is one over the mean.
IN_SECONDS = ("min", "max", "mean", "stddev", "median", "iqr", "q1", "q3", "ld15iqr", "hd15iqr")
# No round takes nothing, whatever a coarse clock says.
LEAST_SECONDS = 1e-9
# Who has a first call that compiles.
COMPILING = ("compiled", "triton")
# Above both floors by this factor, neither memory nor arithmetic is what a contender waits for.
OVERHEAD = 4.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """A run of `wsa bench`: pytest-benchmark's document with a row in each `extra_info`."""

    document: dict[str, Any]
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Return one row a contender, in the order they ran."""
        return [each["extra_info"] for each in self.document["benchmarks"]]


def make_report(
    document: dict[str, Any],
    entries: Sequence[Entry],
    rates: Rates,
    failures: dict[str, str],
    left_out: dict[str, str],
) -> Report:
    """Add to each benchmark its row, and to the document its schema and the failures."""
    by_name = {entry.name: entry for entry in entries}
    timed = document["benchmarks"]
    for each in timed:
        _complete(each, by_name[each["param"]], rates)
    rows = [each["extra_info"] for each in timed]
    for row in rows:
        row |= _compared(row, [other for other in rows if other["contest"] == row["contest"]])
    added = {"schema": SCHEMA, "failures": failures, "left_out": left_out}
    return Report(document | added, failures, left_out)


def _complete(benchmark: dict[str, Any], entry: Entry, rates: Rates) -> None:
    """Turn what was measured of one contender into its row; times are for all N adapters."""
    setting, facts = entry.contest.setting, benchmark["extra_info"]
    scale = setting.adapters / facts["adapters_timed"]
    measured = benchmark["stats"].pop("data")
    data, own = (_scaled(each, scale) for each in (measured, facts.pop("own") or measured))
    _scale_statistics(benchmark["stats"], scale)
    median = statistics.median(data)
    first = scale * facts.pop("first_seconds")
    floors = {"memory": facts["bytes"] / rates.copy, "arithmetic": facts["flops"] / rates.product}
    floor = max(floors.values())
    benchmark["name"] = benchmark["fullname"] = entry.name
    benchmark["params"] = None
    benchmark["extra_info"] = {
        **{"contest": entry.contest.name, "case": entry.contest.case.name},
        **{"backend": entry.backend, "view": setting.view, "rank": setting.rank},
        **{"dtype": setting.dtype, "device": setting.device, "adapters": setting.adapters},
        **{"median": median, "p20": _quantile(data, 0.2), "p80": _quantile(data, 0.8)},
        **{"rounds": len(data), "bytes_per_second": facts["bytes"] / median},
        "share_of_copy": facts["bytes"] / median / rates.copy,
        "floor_seconds": floor,
        "limiter": "overhead" if median > OVERHEAD * floor else max(floors, key=floors.__getitem__),
        "compile_seconds": max(0.0, first - median) if entry.backend in COMPILING else None,
        **{"gated": entry.gated, "own": summary(own)},
        **facts,
    }


def summary(seconds: list[float]) -> dict[str, float]:
    """Return the statistics that gates compare."""
    data = sorted(seconds)
    views = (statistics.median(data), _quantile(data, 0.2), data[0])
    return dict(zip(STATISTICS, views, strict=True))


def _scaled(seconds: Sequence[float], scale: float) -> list[float]:
    return sorted(max(LEAST_SECONDS, scale * each) for each in seconds)


def _scale_statistics(stats: dict[str, Any], scale: float) -> None:
    """Tell pytest-benchmark's statistics, too, for all N adapters."""
    for name in (*IN_SECONDS, "total"):
        stats[name] *= scale
    stats["ops"] /= scale


def _quantile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _compared(row: Row, contest: list[Row]) -> Row:
    """Say how many times as fast a contender is as the best other one, and as the loop."""
    others = [other for other in contest if other is not row]
    best = min(others, key=lambda other: float(other["median"]), default=None)
    loop = next((other for other in others if other["backend"] == "loop"), None)
    return {
        "best_other": best["backend"] if best else None,
        "over_best_other": best["median"] / row["median"] if best else None,
        "over_loop": loop["median"] / row["median"] if loop else None,
    }
