"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[
    str,
    typer.Option(
        help="A zoo (digits, mlp, sanity-check), 1k, 10k, 50k, 100k or small, a folder of adapter "
        "files or one written by datasets, Parquet, or a hub id; NAME#SPLIT takes one split."
    ),
]
Plugins = Annotated[
    str,
    typer.Option(help="Plugins by name, with commas, or all; NAME(parameter=value) sets one."),
]
StrictPlugins = Annotated[
    bool, typer.Option("--strict-plugins", help="Stop at the first plugin that fails.")
]
PluginTimeout = Annotated[
    float | None,
    typer.Option(help="Seconds for each answer of a plugin that is not wsa's, in its own process."),
]
View = Annotated[
    str,
    typer.Option(help="factors: the stored matrices. delta: each module's update. Or both."),
]
LabelFrom = Annotated[
    str | None,
    typer.Option(help="Labels of adapter files: folder, or metadata:KEY. [labels.csv beside them]"),
]
AllowPartial = Annotated[
    bool, typer.Option("--allow-partial", help="Leave out keys that no format explains.")
]
CommonModules = Annotated[
    bool, typer.Option("--common-modules", help="Take the modules that all adapters have.")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave refused files out instead of stopping.")
]
AllowPickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Read .bin and .pt too, tensors only.")
]
SplitFused = Annotated[
    bool,
    typer.Option("--split-fused/--keep-fused", help="Part fused qkv into its modules, or not."),
]
Verify = Annotated[
    bool, typer.Option("--verify", help="Read every weight again: find edits that left no trace.")
]
Limit = Annotated[int | None, typer.Option(help="Take the first N adapters only.")]
CacheDir = Annotated[Path | None, typer.Option(help="Where features are kept. [per-user cache]")]
CacheFeatures = Annotated[bool, typer.Option(help="Keep features for the next run.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
NumWorkers = Annotated[int, typer.Option(help="Threads that read columns of a shard.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
