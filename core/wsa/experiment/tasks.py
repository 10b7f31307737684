"""Run: from a configuration to results.json, by the shortest way that is left to go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wsa.errors import PluginFailure
from wsa.experiment.folder import RunFolder
from wsa.experiment.offers import configured, refuse_failures
from wsa.experiment.plan import Task
from wsa.experiment.preparation import Prepared, prepare, split_labels, train_config
from wsa.experiment.results import merge, metrics_csv, task_result
from wsa.experiment.soundness import firsts, settle
from wsa.extraction import Extraction, Features, Request
from wsa.progress import Progress, progress, say
from wsa.storage import canonical_digest, to_json
from wsa.train import CONDITIONS, Outcome, Run, Split, train

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.experiment.offers import Given


@dataclass(frozen=True)
class Summary:
    """What a run left behind: its results, and what it cost, which results do not depend on."""

    folder: Path
    results: dict[str, Any]
    seconds: dict[str, float]
    extraction: Extraction


def run(config: RunConfig | None = None, *, representations: Given = (), **knobs: Any) -> Summary:
    """Run an experiment, or what is left of it, and write its results.

    The knobs are `RunConfig`'s. `representations`, objects such as `Spectral(top=20)`, take the
    place of plugins by name. `results["failures"]` names every plugin that failed; the others are
    finished all the same.
    """
    config = configured(config, representations, knobs)
    folder = RunFolder(config.folder())
    if not config.restart:
        folder.refuse_another(config.decisive())
    prepared = prepare(config, representations)
    with folder.opened(config.decisive(), config.restart):
        started = time.monotonic()
        prepared.extraction.ensure()
        settle(prepared.extraction, config)
        refuse_failures(config, prepared.extraction)
        say(prepared.extraction.account())
        folder.record("features", account=prepared.extraction.account())
        extracted = time.monotonic()
        results = Experiment(prepared, folder).results()
        seconds = {"features": extracted - started, "training": time.monotonic() - extracted}
    return Summary(folder.root, results, seconds, prepared.extraction)


@dataclass(frozen=True)
class Experiment:
    """The training half of a run: every task once, finished ones skipped."""

    prepared: Prepared
    folder: RunFolder
    failures: dict[str, str] = field(default_factory=dict)

    def results(self) -> dict[str, Any]:
        """Do the tasks that are not done, merge all of them, write results and metrics."""
        tasks = self.prepared.tasks
        split = self._split()
        self.folder.bind(self.prepared.config.decisive() | self._identity(split))
        self.folder.write("split.json", to_json(split.to_json()))
        found = {task: self.folder.finished(task) for task in tasks}
        done = {task: result for task, result in found.items() if result is not None}
        done |= self._train([task for task in tasks if task not in done], split)
        ordered = [done[task] for task in tasks if task in done]
        merged = merge(self.prepared, ordered, split, self.failures)
        self.folder.write("results.json", to_json(merged))
        self.folder.write("metrics.csv", metrics_csv(merged["tasks"]))
        self.folder.record("results", tasks=len(done), failures=len(merged["failures"]))
        return merged

    def _split(self) -> Split:
        """Return the split of this population: by group and content, over usable adapters."""
        labels, extraction = self.prepared.labels, self.prepared.extraction
        usable = labels.known & extraction.valid()
        if self.prepared.config.dedupe:
            usable &= firsts(extraction.digests())
        return split_labels(labels, extraction.digests(), usable)

    def _identity(self, split: Split) -> dict[str, Any]:
        """Return what results depend on beside the configuration, to hold a resumed run to it."""
        extraction = self.prepared.extraction
        training = asdict(train_config(self.prepared.config))
        return {
            "population": canonical_digest(extraction.digests()),
            "split": canonical_digest(split.to_json()),
            "training": {name: knob for name, knob in training.items() if name not in CONDITIONS},
            **{f"representation {r.offer.name}": r.offer.told for r in extraction.requests},
        }

    def _train(self, tasks: Sequence[Task], split: Split) -> dict[Task, dict[str, Any]]:
        total = len(self.prepared.tasks)
        finished = total - len(tasks)
        say(f"PROGRESS {finished}/{total} tasks ({100 * finished / max(1, total):.1f}%)")
        done = {}
        with progress("tasks", total, "tasks", finished) as bar:
            for task, features in self._with_features(tasks):
                result = self._one(task, features, split, bar) if features else None
                if result is not None:
                    done[task] = result
                bar.advance(1)
        return done

    def _with_features(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Features | None]]:
        """Load each request's features once, for all its layer sets; None where it failed."""
        request: Request | None = None
        features: Features | None = None
        for task in tasks:
            if task.request != request:
                request, features = task.request, self._features(task.request)
            yield task, features

    def _features(self, request: Request) -> Features | None:
        extraction = self.prepared.extraction
        try:
            return extraction.features(request)
        except PluginFailure as problem:
            extraction.failures.setdefault(request, str(problem))
            return None

    def _one(
        self, task: Task, features: Features, split: Split, bar: Progress
    ) -> dict[str, Any] | None:
        """Train and commit one task; None where its features have nothing to learn from."""
        started = time.monotonic()
        try:
            outcome, columns = self._outcome(task, features, split, bar)
        except PluginFailure as problem:
            say(f"{task.name} failed: {problem}; the others go on")
            self.failures[task.name] = str(problem)
            return None
        result = task_result(task, outcome, columns)
        self.folder.commit(task, result)
        self.folder.record("task", task=task.name, seconds=round(time.monotonic() - started, 3))
        return result

    def _outcome(
        self, task: Task, features: Features, split: Split, bar: Progress
    ) -> tuple[Outcome, int]:
        config, labels = self.prepared.config, self.prepared.labels
        device = self.prepared.extraction.device
        chosen = set(task.layers)
        columns = [i for i, column in enumerate(features.columns) if column.layer in chosen]
        outcome = train(
            features.values[:, columns].to(device),
            torch.from_numpy(labels.codes).to(device),
            split,
            runs_of(config),
            len(labels.classes),
            train_config(config),
            self.folder.checkpoint(task),
            lambda epoch, last: bar.advance(0, f"{task.name} epoch {epoch}/{last}"),
        )
        return outcome, len(columns)


def runs_of(config: RunConfig) -> list[Run]:
    """Return the seeds of a task, and the shuffled-label control that trains beside them."""
    return [*(Run(seed) for seed in range(config.runs)), Run(0, shuffled=True)]
