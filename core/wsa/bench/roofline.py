"""Roofline: every contender under the two ceilings of its machine, as SVG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsa.bench.report import Report
from wsa.storage import write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

MARKERS = "osD^vPX*<>"


def plot(report: Report, path: Path) -> None:
    """Draw operations per second over operations per byte, both axes logarithmic."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.subplots()
    shown = [row for row in report.rows if row["flops"] and row["bytes"]]
    _ceilings(axes, report.document["rates"], [_intensity(row) for row in shown])
    backends = list(dict.fromkeys(row["backend"] for row in shown))
    for place, backend in enumerate(backends):
        mine = [row for row in shown if row["backend"] == backend]
        points = [(_intensity(row), row["flops"] / row["median"]) for row in mine]
        marker = MARKERS[place % len(MARKERS)]
        axes.plot(*zip(*points, strict=True), marker, ms=4, alpha=0.8, label=backend)
    axes.set(xscale="log", yscale="log", xlabel="FLOP / byte", ylabel="FLOP / s")
    axes.set_title(report.document["machine_info"]["device"])
    axes.legend(fontsize="small")
    write_bytes(path, _svg(figure.savefig))


def _ceilings(axes: Any, rates: dict[str, float], intensities: list[float]) -> None:
    ridge = rates["product"] / rates["copy"]
    places = [min([ridge, *intensities]) / 2, ridge, max([ridge, *intensities]) * 2]
    heights = [min(rates["product"], rates["copy"] * place) for place in places]
    axes.plot(places, heights, "k-", lw=1, label="measured copy, matrix product")


def _intensity(row: dict[str, Any]) -> float:
    return float(row["flops"] / row["bytes"])


def _svg(save: Callable[..., None]) -> bytes:
    drawn = io.BytesIO()
    # no date: equal results are then equal files
    save(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
