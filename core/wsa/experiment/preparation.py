"""Prepare: everything a run needs to know, and every mistake it can find, before it computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsa import registry
from wsa.cache import Cache, Memory, Store, default_cache_dir
from wsa.errors import EnvironmentProblem, PluginFailure, WsaError
from wsa.experiment.labels import Labels, read_labels
from wsa.experiment.plan import Task, plan_tasks
from wsa.experiment.splitting import split_labels
from wsa.extract import Extraction, Request
from wsa.population.population import Population, open_population
from wsa.progress import say
from wsa.registry import Offer
from wsa.representation import Composite
from wsa.train import TrainConfig, known_head

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig


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


def prepare(config: RunConfig) -> Prepared:
    """Load plugins, open the population, choose the tasks; raises WsaError for bad input."""
    train_config(config)
    for head in config.heads:
        known_head(head)
    extraction, wanted, failures = prepare_extraction(config)
    population = extraction.population
    labels = {name: read_labels(population, name, config.task) for name in config.labels}
    layers = {view: population.catalogue.layers(view) for view in config.view}
    tasks = plan_tasks(wanted, layers, config)
    # a split that cannot be made is found now, not after the features
    everyone = [str(row) for row in range(population.count)]
    for each in labels.values():
        split_labels(each, everyone, each.known)
    return Prepared(config, labels, tasks, extraction, failures)


def prepare_extraction(
    config: RunConfig,
) -> tuple[Extraction, list[Request], dict[str, str]]:
    """Return what to extract, the requests that were asked for, and the plugins that failed."""
    device = choose_device(config.device)
    offers, parts, failures = load_offers(config.plugins)
    population = open_population(config.dataset, config.limit, config.num_workers)
    for view in config.view:
        population.catalogue.layers(view)
    wanted = [Request(view, offer) for view in config.view for offer in offers]
    needed = [Request(view, offer) for view in config.view for offer in parts]
    # on CUDA what is not fused is compiled anyway
    compiled = "compiled" if device.type == "cpu" else None
    backend = {True: compiled, False: "reference", None: None}[config.compile]
    store = open_store(config)
    return Extraction(population, wanted + needed, store, device, backend), wanted, failures


def open_store(config: RunConfig) -> Store:
    """Return where features are kept."""
    if not config.cache_features:
        return Memory()
    return Cache(config.cache_dir or default_cache_dir())


def load_offers(names: Sequence[str]) -> tuple[list[Offer], list[Offer], dict[str, str]]:
    """Load plugins by name: what they offer, the parts composites need beside, who failed."""
    failures: dict[str, str] = {}
    offers = _load(registry.named(names), failures)
    composites = [each.representation for each in offers]
    wanted = [part for each in composites if isinstance(each, Composite) for part in each.parts]
    here = {plugin.name for plugin in registry.installed()} - {offer.name for offer in offers}
    missing = [part for part in dict.fromkeys(wanted) if part in here]
    parts = _load(registry.named(missing), failures) if missing else []
    if not offers:
        raise PluginFailure(f"no plugin left to run: {'; '.join(failures.values())}")
    _refuse_same_names(offers + parts)
    return offers, parts, failures


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
        batch_size=config.batch_size,
        max_epochs=config.max_epochs,
        patience=config.patience,
        amp=config.amp,
        compile=config.compile,
    )


def _load(plugins: Sequence[registry.Plugin], failures: dict[str, str]) -> list[Offer]:
    offers = []
    for plugin in plugins:
        try:
            offers += registry.load(plugin)
        except PluginFailure as problem:
            failures[plugin.name] = str(problem)
            say(f"{problem}; the others go on")
    return offers


def _refuse_same_names(offers: Sequence[Offer]) -> None:
    owners: dict[str, Offer] = {}
    for offer in offers:
        other = owners.setdefault(offer.name, offer)
        if other is not offer:
            raise WsaError(
                f"plugins {other.plugin.name!r} ({other.plugin.distribution}) and "
                f"{offer.plugin.name!r} ({offer.plugin.distribution}) both offer "
                f"{offer.name!r}; name only one of them"
            )
