"""`wsa extract`: the features themselves, for people who bring their own model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsa.cli import options
from wsa.errors import EXIT_SOME_FAILED, WsaError
from wsa.parameters import words
from wsa.progress import say


def extract(
    out: Annotated[Path, typer.Option(help="The file to write: .parquet or .npz.")],
    dataset: options.Dataset = "digits",
    plugins: options.Plugins = "all",
    view: options.View = "factors",
    limit: options.Limit = None,
    cache_dir: options.CacheDir = None,
    cache_features: options.CacheFeatures = True,
    label_from: options.LabelFrom = None,
    allow_partial: options.AllowPartial = False,
    common_modules: options.CommonModules = False,
    skip_bad: options.SkipBad = False,
    allow_pickle: options.AllowPickle = False,
    split_fused: options.SplitFused = True,
    verify: options.Verify = False,
    device: options.Device = "auto",
    num_workers: options.NumWorkers = 4,
    strict_plugins: options.StrictPlugins = False,
    plugin_timeout: options.PluginTimeout = None,
) -> None:
    """Write the features: adapter row, label columns, one column per <layer>/<feature>."""
    if out.suffix not in (".parquet", ".npz"):
        raise WsaError(f"--out needs a name ending in .parquet or .npz; got {out.name!r}")
    if not out.parent.is_dir():
        raise WsaError(f"--out needs a directory that exists; {out.parent} does not")
    from wsa import experiment

    config = experiment.RunConfig(
        dataset=dataset,
        plugins=words(plugins),
        view=words(view),
        limit=limit,
        cache_dir=cache_dir,
        cache_features=cache_features,
        label_from=label_from,
        allow_partial=allow_partial,
        common_modules=common_modules,
        skip_bad=skip_bad,
        allow_pickle=allow_pickle,
        split_fused=split_fused,
        verify=verify,
        device=device,
        num_workers=num_workers,
        strict_plugins=strict_plugins,
        plugin_timeout=plugin_timeout,
    )
    exported = experiment.export(config, out)
    say(f"{exported.rows} adapters x {exported.columns} features in {out}")
    if exported.failures:
        raise typer.Exit(EXIT_SOME_FAILED)
