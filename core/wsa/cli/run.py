"""`wsa run`: which representation, and which layers, carry the label."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from wsa.cli import options
from wsa.errors import EXIT_SOME_FAILED
from wsa.parameters import words


def run(
    dataset: options.Dataset = "digits",
    plugins: options.Plugins = "all",
    layer_sets: Annotated[
        str,
        typer.Option(
            help="all, visual, text, self_attention, random:<n>, or globs; each-block, "
            "each-module-type or per-layer for a layer map."
        ),
    ] = "all,visual",
    view: options.View = "factors",
    num_runs: Annotated[int, typer.Option(help="Seeds trained in each task.")] = 10,
    quick: Annotated[bool, typer.Option("--quick", help="Three seeds at most.")] = False,
    sample_layers: Annotated[float, typer.Option(help="Keep this share of the modules.")] = 1.0,
    limit: options.Limit = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="The run folder. [wsa-runs/<digest of the configuration>]")
    ] = None,
    cache_dir: options.CacheDir = None,
    cache_features: options.CacheFeatures = True,
    batch_size: Annotated[int, typer.Option(help="Adapters in a training batch.")] = 256,
    hidden_dim: Annotated[int, typer.Option(help="Width of the first hidden layer.")] = 512,
    dropout: Annotated[float, typer.Option(help="Share of hidden units dropped.")] = 0.5,
    weight_decay: Annotated[float, typer.Option(help="AdamW's weight decay.")] = 1e-4,
    learning_rate: Annotated[
        float, typer.Option(help="AdamW's learning rate; head mlp alone has one.")
    ] = 3e-3,
    max_epochs: Annotated[int, typer.Option(help="Epochs at most.")] = 200,
    patience: Annotated[int, typer.Option(help="Epochs without a gain of 0.01 in loss.")] = 15,
    label: Annotated[
        str, typer.Option(help="The label column, or several with commas.")
    ] = "category_label",
    task: Annotated[
        str | None,
        typer.Option(help="classes, regression or ordinal. [regression for floats, else classes]"),
    ] = None,
    heads: Annotated[str, typer.Option(help="mlp, linear, knn, gbm, with commas.")] = "mlp",
    splits: Annotated[int, typer.Option(help="Train and test on so many splits.")] = 1,
    amp: Annotated[
        bool | None, typer.Option("--amp/--no-amp", help="Half precision. [on CUDA only]")
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Compiled code. Without: plain torch only. [where it pays]",
        ),
    ] = None,
    label_from: options.LabelFrom = None,
    allow_partial: options.AllowPartial = False,
    common_modules: options.CommonModules = False,
    skip_bad: options.SkipBad = False,
    allow_pickle: options.AllowPickle = False,
    split_fused: options.SplitFused = True,
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Keep one of the adapters with equal weights.")
    ] = False,
    verify: options.Verify = False,
    device: options.Device = "auto",
    num_workers: options.NumWorkers = 4,
    strict_plugins: options.StrictPlugins = False,
    plugin_timeout: options.PluginTimeout = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what the run folder holds.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Compute representations, train classifiers, and say which carries the label.

    The same command again resumes where it stopped.
    """
    with _uncollected():
        from wsa import experiment
    from wsa.cli import table

    config = experiment.RunConfig(
        dataset=dataset,
        plugins=words(plugins),
        layer_sets=words(layer_sets),
        view=words(view),
        num_runs=num_runs,
        quick=quick,
        sample_layers=sample_layers,
        limit=limit,
        output_dir=output_dir,
        cache_dir=cache_dir,
        cache_features=cache_features,
        batch_size=batch_size,
        hidden_dim=hidden_dim,
        dropout=dropout,
        weight_decay=weight_decay,
        learning_rate=learning_rate,
        max_epochs=max_epochs,
        patience=patience,
        label=label,
        task=task,
        heads=words(heads),
        splits=splits,
        amp=amp,
        compile=compile,
        label_from=label_from,
        allow_partial=allow_partial,
        common_modules=common_modules,
        skip_bad=skip_bad,
        allow_pickle=allow_pickle,
        split_fused=split_fused,
        dedupe=dedupe,
        verify=verify,
        device=device,
        num_workers=num_workers,
        strict_plugins=strict_plugins,
        plugin_timeout=plugin_timeout,
        restart=restart,
    )
    if dry_run:
        table.print_forecast(experiment.forecast(config), json)
        return
    summary = experiment.run(config)
    table.print_results(summary, json)
    if _fell_short(summary.results, config.plugins):
        raise typer.Exit(EXIT_SOME_FAILED)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage among what is imported, now or later: all of it lives to the end.

    Looking took 0.4 s of 2.5 where nothing is left to do.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _fell_short(results: dict[str, Any], plugins: Sequence[str]) -> bool:
    """Tell whether something failed, or what was asked for by name has nothing to learn from."""
    named = bool(results["constant"]) and plugins != ("all",)
    nothing = not results["overall"] and not results["maps"]
    return bool(results["failures"]) or named or nothing
