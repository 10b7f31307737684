"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[
    str,
    typer.Option(
        help="A zoo (digits, mlp, sanity-check), 1k, 10k, 50k, 100k or small, a folder written by "
        "datasets, Parquet, or a hub id; NAME#SPLIT takes one split."
    ),
]
Plugins = Annotated[str, typer.Option(help="Plugins by name, with commas, or all.")]
View = Annotated[
    str,
    typer.Option(help="factors: the stored matrices. delta: each module's update. Or both."),
]
Limit = Annotated[int | None, typer.Option(help="Take the first N adapters only.")]
CacheDir = Annotated[Path | None, typer.Option(help="Where features are kept. [per-user cache]")]
CacheFeatures = Annotated[bool, typer.Option(help="Keep features for the next run.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
NumWorkers = Annotated[int, typer.Option(help="Threads that read columns of a shard.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def words(text: str) -> tuple[str, ...]:
    """Split a comma-separated option."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
