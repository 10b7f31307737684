"""Prepare: everything a run needs to know, and every mistake it can find, before it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsa.cache import Cache, Memory, Store, default_cache_dir, keep_compiled_code
from wsa.errors import EnvironmentProblem
from wsa.experiment.folder import SPLIT
from wsa.experiment.labels import Labels, read_labels
from wsa.experiment.offers import load_offers, requests_of, say_changed_sources
from wsa.experiment.plan import Task, plan_tasks
from wsa.experiment.splitting import split_labels
from wsa.extraction import Extraction, Request
from wsa.isolation import Isolation
from wsa.population.source import open_population
from wsa.train import TrainConfig, known_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsa.experiment.config import RunConfig
    from wsa.population.population import Population
    from wsa.provenance import Given


@dataclass(frozen=True)
class Prepared:
    """An experiment before its first computation."""

    config: RunConfig
    labels: dict[str, Labels]  # by column
    tasks: list[Task]
    extraction: Extraction
    failures: dict[str, str]  # plugins that did not load

    @property
    def population(self) -> Population:
        """Return the population."""
        return self.extraction.population


def prepare(config: RunConfig, given: Sequence[Given] = ()) -> Prepared:
    """Load plugins, open the population, choose the tasks; raises WsaError for bad input."""
    train_config(config)
    for head in config.heads:
        known_head(head)
    extraction, wanted, failures = prepare_extraction(config, given)
    population = extraction.population
    labels = {name: read_labels(population, name, config.task) for name in config.labels}
    layers = {view: population.catalogue.layers(view) for view in config.view}
    tasks = plan_tasks(wanted, layers, config)
    # a split that cannot be made is found now, not after the features; one that was made can be
    everyone = [str(row) for row in range(population.count)]
    for each in () if (config.folder() / SPLIT).exists() else labels.values():
        split_labels(each, everyone, each.known)
    return Prepared(config, labels, tasks, extraction, failures)


def prepare_extraction(
    config: RunConfig, given: Sequence[Given] = ()
) -> tuple[Extraction, list[Request], dict[str, str]]:
    """Return what to extract, the requests that were asked for, and the plugins that failed.

    Representations that are `given` as objects take the place of the configuration's plugins.
    """
    device = choose_device(config.device)
    keep_compiled_code()
    isolation = Isolation(config.plugin_timeout)
    found = load_offers(config.plugins, given, config.strict_plugins, isolation)
    population = open_population(config.dataset, config.reading)
    for view in config.view:
        population.catalogue.layers(view)
    wanted = requests_of(found.offers, config.view)
    needed = requests_of(found.parts, config.view)
    # on CUDA what is not fused is compiled anyway
    compiled = "compiled" if device.type == "cpu" else None
    backend = {True: compiled, False: "reference", None: None}[config.compile]
    store, asked = open_store(config), wanted + needed
    skip_bad = config.skip_bad or not population.is_strict
    extraction = Extraction(
        population, asked, store, device, backend, config.verify, isolation, skip_bad
    )
    say_changed_sources(found.offers + found.parts, extraction.store)
    return extraction, wanted, found.failures


def open_store(config: RunConfig) -> Store:
    """Return where features are kept."""
    if not config.cache_features:
        return Memory()
    return Cache(config.cache_dir or default_cache_dir())


def choose_device(name: str) -> torch.device:
    """Return the device asked for; raises EnvironmentProblem where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("--device cuda needs a CUDA device; none found: use --device cpu")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(best if name == "auto" else name)


def train_config(config: RunConfig) -> TrainConfig:
    """Return the trainer's part of a configuration; raises WsaError for a knob out of range."""
    return TrainConfig(
        hidden_dim=config.hidden_dim,
        dropout=config.dropout,
        weight_decay=config.weight_decay,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        max_epochs=config.max_epochs,
        patience=config.patience,
        amp=config.amp,
        compile=config.compile,
    )
