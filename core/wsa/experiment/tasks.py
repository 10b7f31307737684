"""Run: from a configuration to results.json, by the shortest way that is left to go."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsa.errors import NothingVaries, PluginFailure
from wsa.experiment import divergence
from wsa.experiment.folder import EVENTS, METRICS, SPLIT, TIMING, RunFolder
from wsa.experiment.offers import configured, refuse_failures
from wsa.experiment.plan import Task
from wsa.experiment.preparation import Prepared, prepare, train_config
from wsa.experiment.results import about, merge, metrics_csv, restored, task_result
from wsa.experiment.soundness import settle, usable
from wsa.experiment.splitting import Splits, Splitting, splits_json
from wsa.experiment.stamp import RESULTS, Stamp, proof
from wsa.experiment.timing import measured, timing_csv
from wsa.experiment.training import Trained, train_task
from wsa.extraction import Extraction, Features, Request
from wsa.progress import Progress, progress, say
from wsa.storage import canonical_digest, to_json
from wsa.train import CONDITIONS, MLP

if TYPE_CHECKING:
    from wsa.experiment.config import RunConfig
    from wsa.provenance import Given


@dataclass(frozen=True)
class Summary:
    """What a run left behind: its results, and what it cost, which results do not depend on."""

    folder: Path
    results: dict[str, Any]
    seconds: dict[str, float]
    extraction: Extraction


def run(
    config: RunConfig | None = None,
    *,
    representations: Given | Sequence[Given] | None = None,
    **knobs: Any,
) -> Summary:
    """Run an experiment, or what is left of it, and write its results.

    The knobs are `RunConfig`'s. `representations`, names of plugins and objects such as
    `Spectral(top=20)`, alone or several, take the place of `plugins`. `results["failures"]` names
    every plugin that failed and every task that no seed trained; the others are finished all the
    same.
    """
    config, given = configured(config, representations, knobs)
    folder = RunFolder(config.folder())
    if not config.restart:
        folder.refuse_another(config.decisive())
    prepared = prepare(config, given)
    with folder.opened(config.decisive(), config.restart):
        started = time.monotonic()
        prepared.extraction.ensure()
        settle(prepared.extraction, config, prepared.labels)
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
    constant: dict[str, str] = field(default_factory=dict)

    def results(self) -> dict[str, Any]:
        """Do the tasks that are not done, merge all of them, write results and metrics.

        Where nothing is left, and results would be written as they stand, they are left alone.
        """
        splitting = self._splitting()
        splits = splitting.made(self.folder.root / SPLIT)
        bound = self.prepared.config.decisive() | self._identity(splits)
        self.folder.bind(bound)
        self.folder.write(SPLIT, to_json(splitting.to_json(splits)))
        proofs = {task.name: proof(self.folder.read_task(task)) for task in self.prepared.tasks}
        told = about(self.prepared, splits, self.failures)
        standing = Stamp([bound, told, self._timing()], proofs).standing(self.folder)
        if standing is None:
            return self._renewed(splits, bound)
        self._say_unheeded([*standing["tasks"], *standing["maps"]])
        self._say_finished(len(proofs))
        self.folder.record("unchanged", tasks=len(proofs))
        return restored(told, standing)

    def _renewed(self, splits: Splits, bound: dict[str, Any]) -> dict[str, Any]:
        """Do what is left, and write everything that follows from it."""
        tasks = self.prepared.tasks
        found = {task: self.folder.finished(task) for task in tasks}
        done = {task: result for task, result in found.items() if result is not None}
        self._say_unheeded(list(done.values()))
        done |= self._train([task for task in tasks if task not in done], splits)
        # anew: training tells who fails, and what was damaged
        told = about(self.prepared, splits, self.failures)
        ordered = [done[task] for task in tasks if task in done]
        merged = merge(told, ordered, splits) | {"constant": self.constant}
        timing = self._timing()
        files = {RESULTS: to_json(merged), METRICS: metrics_csv(merged["tasks"]), TIMING: timing}
        proofs = {task.name: self.folder.proofs.get(task.name) for task in tasks}
        Stamp([bound, told, timing], proofs).write(self.folder, files)
        self.folder.record("results", tasks=len(done), failures=len(merged["failures"]))
        return merged

    def _timing(self) -> str:
        return timing_csv(self.folder.root / EVENTS)

    def _splitting(self) -> Splitting:
        """Return what decides the splits: groups and contents, over usable adapters."""
        prepared = self.prepared
        found = {
            name: usable(prepared.extraction, prepared.config, labels.known)
            for name, labels in prepared.labels.items()
        }
        digests = prepared.extraction.digests()
        return Splitting(prepared.labels, digests, found, prepared.config.splits)

    def _identity(self, splits: Splits) -> dict[str, Any]:
        """Return what results depend on beside the configuration, to hold a resumed run to it."""
        extraction = self.prepared.extraction
        training = asdict(train_config(self.prepared.config))
        return {
            "population": canonical_digest(extraction.digests()),
            "split": canonical_digest(splits_json(splits)),
            "training": {name: knob for name, knob in training.items() if name not in CONDITIONS},
            **{f"representation {r.offer.name}": r.offer.told for r in extraction.requests},
        }

    def _train(self, tasks: Sequence[Task], splits: Splits) -> dict[Task, dict[str, Any]]:
        total = len(self.prepared.tasks)
        finished = total - len(tasks)
        self._say_finished(finished)
        done = {}
        with progress("tasks", total, "tasks", finished) as bar:
            for task, features in self._with_features(tasks):
                result = self._one(task, features, splits, bar) if features else None
                if result is not None:
                    done[task] = result
                bar.advance(1)
        return done

    def _say_finished(self, finished: int) -> None:
        total = len(self.prepared.tasks)
        say(f"PROGRESS {finished}/{total} tasks ({100 * finished / max(1, total):.1f}%)")

    def _say_unheeded(self, done: Sequence[dict[str, Any]]) -> None:
        """Say which conditions are asked for now that finished tasks were trained without."""
        trained = [task["conditions"] for task in done if task["head"] == MLP]
        for name in ("amp", "compile"):
            wish = getattr(self.prepared.config, name)
            other = sum(bool(each[name]) != wish for each in trained)
            if wish is not None and other:
                how = f"{'without' if wish else 'with'} --{name}"
                say(f"{other} finished tasks stand as trained, {how}; --restart trains them anew")

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
        self, task: Task, features: Features, splits: Splits, bar: Progress
    ) -> dict[str, Any] | None:
        """Train and commit one task; None where its features have nothing to learn from."""
        started = time.monotonic()
        try:
            trained = self._trained(task, features, splits, bar)
        except NothingVaries as problem:
            say(f"{task.name} is left out: {problem}")
            self.constant[task.name] = str(problem)
            return None
        except PluginFailure as problem:
            say(f"{task.name} failed: {problem}; the others go on")
            self.failures[task.name] = str(problem)
            return None
        if not trained.outcome.exact_resume:
            say(f"{task.name} was resumed under other conditions, so not to the same bytes")
        split = splits[task.label, task.repeat]
        result = task_result(task, trained, self.prepared.labels[task.label], split)
        self.folder.commit(task, result)
        if failed := divergence.told(result):
            say(f"{task.name}: {failed}")
        runs = trained.outcome.runs
        epochs = max(run["epochs"] or 0 for run in runs)
        cost = measured(time.monotonic() - started, len(runs), epochs)
        self.folder.record("task", task=task.name, **cost | trained.outcome.measured)
        return result

    def _trained(self, task: Task, features: Features, splits: Splits, bar: Progress) -> Trained:
        return train_task(
            task,
            features,
            self.prepared.labels[task.label],
            splits[task.label, task.repeat],
            self.prepared.config,
            self.prepared.extraction.device,
            self.folder.checkpoint(task),
            lambda epoch, last: bar.advance(0, f"{task.name} epoch {epoch}/{last}"),
        )
