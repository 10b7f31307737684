"""`wsa pack`: any population into a store that is read a shard at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsa.cli import options
from wsa.errors import EXIT_SOME_FAILED, WsaError


def pack(
    source: Annotated[str, typer.Argument(help="What --dataset takes. With --verify: the store.")],
    dest: Annotated[Path | None, typer.Argument(help="The folder to write.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Store weights as fp16, bf16 or fp32. [as they are]")
    ] = None,
    limit: options.Limit = None,
    num_workers: options.NumWorkers = 4,
    label: Annotated[str, typer.Option(help="What a label of --label-from is called.")] = (
        "category_label"
    ),
    label_from: options.LabelFrom = None,
    allow_partial: options.AllowPartial = False,
    common_modules: options.CommonModules = False,
    skip_bad: options.SkipBad = False,
    allow_pickle: options.AllowPickle = False,
    split_fused: options.SplitFused = True,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read a packed store whole and name what is damaged.")
    ] = False,
) -> None:
    """Pack a population: later reads are one call a shard. The same command again goes on."""
    if verify:
        _verify(Path(source), dest)
        return
    if dest is None:
        raise WsaError("wsa pack needs SOURCE and DEST: what to pack, and the folder to write")
    from wsa.population.packing import pack as pack_population
    from wsa.population.reading import Reading
    from wsa.population.source import open_population
    from wsa.progress import amount

    reading = Reading(
        limit=limit,
        num_workers=num_workers,
        label=label,
        label_from=label_from,
        allow_partial=allow_partial,
        common_modules=common_modules,
        skip_bad=skip_bad,
        allow_pickle=allow_pickle,
        split_fused=split_fused,
    )
    done = pack_population(open_population(source, reading), source, dest, dtype, skip_bad)
    print(
        f"{done.adapters} adapters in {done.shards} shards, {amount(done.bytes)}, {dest}; "
        f"{done.written} shards written{_trusted(done.shards - done.written, dest)}"
    )


def _trusted(found: int, dest: Path) -> str:
    """Say that shards which were there are known by their headers alone, and how to prove them."""
    if not found:
        return ""
    return f", {found} were there and were not read: wsa pack --verify {dest} proves them"


def _verify(root: Path, other: Path | None) -> None:
    from wsa.population.packed import damaged_parts

    if other is not None:
        raise WsaError(f"wsa pack --verify needs one folder; got {root} and {other}")
    damaged = damaged_parts(root)
    for each in damaged:
        print(f"{each.name}: {each.reason}")
    if damaged:
        raise typer.Exit(EXIT_SOME_FAILED)
    print(f"{root} is as it was packed")
