"""Forecast: what a run would read, write and train, and how long that takes here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from wsa.cache import Memory
from wsa.errors import PluginFailure
from wsa.experiment.preparation import Prepared, prepare
from wsa.progress import amount, clock, say
from wsa.train import USUAL_EPOCHS

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.experiment.plan import Task
    from wsa.extraction import Extraction, Request

SAMPLE_ADAPTERS = 16
# What a task takes beside its products: steps, metrics, the commit; 400 adapters, two cores.
TASK_SECONDS = 0.7


@dataclass(frozen=True)
class TaskForecast:
    """One task in numbers."""

    task: str
    layers: int
    columns: int


@dataclass(frozen=True)
class Forecast:
    """The plan of a run in numbers; seconds come from a sample measured just now."""

    adapters: int
    parameters: int
    shards: int
    weight_bytes: int
    entries: int
    entries_cached: int
    cache_bytes: int
    feature_seconds: float
    tasks: list[TaskForecast]
    runs: int
    training_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the plan as a person reads it."""
        missing = self.entries - self.entries_cached
        return [
            f"{self.adapters} adapters x {self.parameters} parameters in {self.shards} shards, "
            f"{amount(self.weight_bytes)} of weights",
            f"features: {missing} of {self.entries} shard entries to compute, "
            f"{amount(self.cache_bytes)} to cache, about {clock(self.feature_seconds)}",
            *(f"task {t.task}: {t.layers} layers, {t.columns} columns" for t in self.tasks),
            f"{len(self.tasks)} tasks x {self.runs} runs, about {clock(self.training_seconds)}",
        ]


def forecast(config: RunConfig) -> Forecast:
    """Plan a run without running it; raises WsaError for bad input, as the run would."""
    prepared = prepare(config)
    extraction, population = prepared.extraction, prepared.population
    columns = {request: _columns(extraction, request) for request in extraction.requests}
    cached = {r: _cached(prepared, r) for r in extraction.computable() if columns[r]}
    spans = population.ranges()
    missing = [r for r, found in cached.items() if found < len(spans)]
    sizes = [population.group(start).row_bytes * (stop - start) for start, stop in spans]
    tasks = [
        TaskForecast(task.name, len(task.layers), _share(prepared, task, columns))
        for task in prepared.tasks
    ]
    return Forecast(
        adapters=population.count,
        parameters=population.layout.parameters,
        shards=len(spans),
        weight_bytes=sum(sizes),
        entries=len(cached) * len(spans),
        entries_cached=sum(cached.values()),
        cache_bytes=sum(columns[r] for r in missing) * population.count * 4,
        feature_seconds=_feature_seconds(prepared, missing),
        tasks=tasks,
        runs=config.runs,
        training_seconds=_training_seconds(prepared, [task.columns for task in tasks]),
    )


def _columns(extraction: Extraction, request: Request) -> int:
    try:
        return len(extraction.columns(request))
    except PluginFailure as problem:
        say(f"{request.name} would fail: {problem}")
        return 0


def _cached(prepared: Prepared, request: Request) -> int:
    extraction = prepared.extraction
    return sum(extraction.cached(request, span) for span in prepared.population.ranges())


def _share(prepared: Prepared, task: Task, columns: dict[Request, int]) -> int:
    layers = prepared.population.catalogue.layers(task.view)
    return columns[task.request] * len(task.layers) // len(layers)


def _feature_seconds(prepared: Prepared, requests: list[Request]) -> float:
    """Measure the missing representations on a few adapters and scale up."""
    if not requests:
        return 0.0
    count = min(SAMPLE_ADAPTERS, prepared.population.count)
    sample = prepared.population.head(count)
    started = time.monotonic()
    replace(prepared.extraction, population=sample, requests=requests, store=Memory()).ensure()
    return (time.monotonic() - started) * prepared.population.count / count


def _training_seconds(prepared: Prepared, columns: Sequence[int]) -> float:
    """Count the first layer's multiplications, which decide, at a rate measured just now."""
    config = prepared.config
    rows = 0.7 * prepared.population.count
    per_column = 4 * (config.runs + 1) * rows * config.hidden_dim
    epochs = min(USUAL_EPOCHS, config.max_epochs)
    products = epochs * per_column * sum(columns) / _multiplications_per_second(prepared)
    return products + TASK_SECONDS * len(columns)


def _multiplications_per_second(prepared: Prepared) -> float:
    left = torch.ones(256, 2048, device=prepared.extraction.device)
    right = torch.ones(2048, 512, device=prepared.extraction.device)
    (left @ right).sum().item()
    started = time.monotonic()
    (left @ right).sum().item()
    return 2 * 256 * 2048 * 512 / (time.monotonic() - started)
