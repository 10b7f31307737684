"""Table: a report as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsa.bench.report import Report, Row

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    *(
        "case",
        "backend",
        "shape",
        "dtype",
        "median",
        "p20",
        "p80",
        "floor",
        "bytes",
        "GB/s",
        "% copy",
    ),
    *("limiter", "launches", "compile", "best other", "loop", "max error"),
)
WORDS = ("case", "backend", "shape", "dtype", "limiter")
STAGES = "e2e/"
# The median of the best other contender, and of the loop, over a contender's own.
SPEED_UPS = ("over_best_other", "over_loop")


def bench_table(report: Report) -> Table:
    """Return one line a contender, one section a contest."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in WORDS else "right", no_wrap=True)
    contest = None
    for row in report.rows:
        if contest not in (None, row["contest"]):
            table.add_section()
        contest = row["contest"]
        table.add_row(*(escape(cell) for cell in _cells(row)))
    return table


def closing(report: Report) -> list[str]:
    """Return what stands under the table: the machine, its rates, and who is missing."""
    machine, rates = report.document["machine_info"], report.document["rates"]
    drift = rates["copy_after"] / rates["copy"] - 1
    lines = [
        "best other, loop: that contender's median over this one's. Every contender was held to "
        "the float64 truth first",
        f"{machine['device']}, {machine['threads']} of {machine['cores']} threads; torch "
        f"{machine['versions']['torch']}, triton {machine['versions']['triton']}",
        f"measured copy {rates['copy'] / 1e9:.4g} GB/s read + written ({drift:+.1%} at the end), "
        f"matrix product {rates['product'] / 1e9:.4g} GFLOP/s",
    ]
    if any(row["adapters_timed"] < row["adapters"] for row in report.rows):
        lines.append("a backend marked (n of N) was timed on n adapters; its times are told for N")
    lines += _pipeline(report) + _told(report)
    return [*lines, *(f"FAILED {name}: {why}" for name, why in report.failures.items())]


def _pipeline(report: Report) -> list[str]:
    """Sum up the stages of the pipeline, where they were timed."""
    stages = [
        row for row in report.rows if row["case"].startswith(STAGES) and row["backend"] == "wsa"
    ]
    if not stages:
        return []
    taken, floor = (sum(row[name] for row in stages) for name in ("median", "floor_seconds"))
    return [f"e2e: {len(stages)} stages in {duration(taken)}; their floors {duration(floor)}"]


def _told(report: Report) -> list[str]:
    """Say what contenders found where that is a number to compare: the same inputs, every one."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in report.rows:
        for name, value in row.get("told", {}).items():
            cell = f"{row['backend']} {value:.4f} in {duration(row['median'])}"
            found.setdefault((row["contest"], name), []).append(cell)
    return [f"{contest} {name}: {', '.join(cells)}" for (contest, name), cells in found.items()]


def _cells(row: Row) -> list[str]:
    few = f" ({row['adapters_timed']} of {row['adapters']})"
    return [
        row["case"],
        row["backend"] + (few if row["adapters_timed"] < row["adapters"] else ""),
        f"{row['view']} {row['shape']}",
        row["dtype"],
        *(duration(row[name]) for name in ("median", "p20", "p80", "floor_seconds")),
        _bytes(row["bytes"]),
        f"{row['bytes_per_second'] / 1e9:.3g}",
        f"{100 * row['share_of_copy']:.3g}",
        row["limiter"],
        str(row["launches"]),
        "" if row["compile_seconds"] is None else duration(row["compile_seconds"]),
        *(f"{row[name]:.3g}x" if row[name] else "" for name in SPEED_UPS),
        f"{row['max_error']:.1e}",
    ]


def duration(seconds: float) -> str:
    """Write a duration with the unit that leaves three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        # 999.5 of the smaller unit would be written 1e+03
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _bytes(count: float) -> str:
    from wsa.progress import amount

    return amount(count)
