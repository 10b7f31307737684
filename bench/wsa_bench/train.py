"""Training: ten packed seeds against ten one after another, and peers, on the same features."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from wsa import Case, Setting, Target
from wsa.case import Answer
from wsa.train import Run, Split, TrainConfig, train

SEEDS, CLASSES = 10, 10
# Every contender trains as long: whoever stops early would be timed for less work.
EPOCHS = 20
# A class's centre lies this many standard deviations from the origin along a random direction: by
# width, so that the classes are learnt, and not all alike by everybody.
APART = {64: 4.0, 640: 6.0}
BATCHES = {64: 64, 640: 256}


@dataclass(frozen=True)
class Task:
    """Gaussian classes, and the network that is to learn them."""

    features: Tensor  # [N, D], on the device
    labels: Tensor  # [N]
    centres: Tensor  # [K, D]
    split: Split
    config: TrainConfig

    @property
    def held_out(self) -> Tensor:
        """Return the rows that accuracy is measured on."""
        return torch.as_tensor(self.split.test, device=self.labels.device)


@lru_cache(maxsize=1)
def planted(width: int, hidden: int, setting: Setting) -> Task:
    """Draw N adapters of ten classes in D columns, the last fifth to be tested on."""
    draw = torch.Generator().manual_seed(setting.seed)
    directions = torch.randn(CLASSES, width, generator=draw)
    centres = APART[width] * directions / directions.norm(dim=1, keepdim=True)
    labels = torch.arange(setting.adapters) % CLASSES
    features = centres[labels] + torch.randn(setting.adapters, width, generator=draw)
    parts = np.zeros(setting.adapters, dtype=np.int8)
    parts[-2 * (setting.adapters // 5) :] = 1
    parts[-(setting.adapters // 5) :] = 2
    config = TrainConfig(
        hidden_dim=hidden, batch_size=BATCHES[width], max_epochs=EPOCHS, patience=EPOCHS
    )
    where = setting.device
    return Task(features.to(where), labels.to(where), centres.to(where), Split(parts), config)


def nearest_centre(task: Task) -> Answer:
    """Return the accuracy of the best classifier there can be: whose centre is nearest."""
    rows = task.held_out
    nearest = torch.cdist(task.features[rows].double(), task.centres.double()).argmin(1)
    return {"accuracy": _shares([(nearest == task.labels[rows]).double().mean()] * SEEDS)}


def packed(task: Task) -> Answer:
    """Train ten seeds as one model."""
    return _accuracies(task, [[Run(seed) for seed in range(SEEDS)]], compile=False)


def sequential(task: Task, compiled: bool) -> Answer:
    """Train ten seeds one after another, each as a model of its own, as a script would."""
    packs = [[Run(seed)] for seed in range(SEEDS)]
    return _accuracies(task, packs, compile=compiled, graph=False)


def scikit_learn(task: Task) -> Answer:
    """Train ten seeds of scikit-learn's MLPClassifier, as long and with as large batches."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    train_rows, config = task.split.train, task.config
    values, labels = task.features.cpu().numpy(), task.labels.cpu().numpy()
    found = []
    with warnings.catch_warnings():
        # it has no more to say of a fixed number of epochs
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed in range(SEEDS):
            model = MLPClassifier(
                (config.hidden_dim, config.hidden_dim // 2),
                batch_size=config.batch_size,
                max_iter=config.max_epochs,
                n_iter_no_change=config.max_epochs,
                learning_rate_init=config.learning_rate,
                random_state=seed,
            ).fit(values[train_rows], labels[train_rows])
            found.append(model.score(values[task.split.test], labels[task.split.test]))
    return {"accuracy": _shares(found)}


def real_mlp(task: Task) -> Answer:
    """Train ten seeds of pytabkit's RealMLP, as wide, as long and with as large batches.

    It would pack them itself (`n_cv=10`), but answer as one ensemble.
    """
    from pytabkit import RealMLP_TD_Classifier

    values, labels = task.features.cpu().numpy(), task.labels.cpu().numpy()
    parts = (task.split.train, task.split.val)
    given = [each[rows] for rows in parts for each in (values, labels)]
    knobs = {
        "device": task.labels.device.type,
        "n_threads": torch.get_num_threads(),
        "n_epochs": task.config.max_epochs,
        "batch_size": task.config.batch_size,
        "hidden_sizes": [task.config.hidden_dim, task.config.hidden_dim // 2],
    }
    found = []
    with _quiet("pytorch_lightning"):
        for seed in range(SEEDS):
            model = RealMLP_TD_Classifier(random_state=seed, **knobs)
            model.fit(*given)
            found.append(model.score(values[task.split.test], labels[task.split.test]))
    return {"accuracy": _shares(found)}


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Keep a library from telling of every fit, ten a round."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def cases() -> list[Case]:
    """Return a task that overhead decides, and one that products decide."""
    return [
        _case("train/small", 64, 64, 2.0),
        _case("train/wide", 640, 512, 0.9),
    ]


def one_epoch(task: Task) -> Task:
    """Return a task whose launches a profiler holds: ten trainings are millions."""
    return replace(task, config=replace(task.config, max_epochs=1))


def targets(on_cpu: float) -> tuple[Target, ...]:
    """Return how many times as fast ten packed seeds are to be as ten one after another."""
    over = partial(Target, ("packed",), "eager")
    return over(on_cpu), over(10.0, device="cuda"), over(20.0, device="cuda", adapters=10_000)


def _case(name: str, width: int, hidden: int, on_cpu: float) -> Case:
    return Case(
        name=name,
        inputs=partial(planted, width, hidden),
        reference=nearest_centre,
        contenders={
            "packed": packed,
            "eager": partial(sequential, compiled=False),
            "compiled": partial(sequential, compiled=True),
            "sklearn": scikit_learn,
            "realmlp": real_mlp,
        },
        shape=lambda task: f"{len(task.labels)} x {width}, hidden {hidden}, {SEEDS} seeds",
        bytes=lambda task: EPOCHS * task.features.nbytes,
        flops=_flops,
        # of an accuracy: a network of 20 epochs is no nearest centre
        tolerance={"": 0.15},
        ranks=(),
        adapters={("cpu", "factors"): 1000, ("cuda", "factors"): 1000},
        scaled={},
        needs={"realmlp": "pytabkit"},
        told=("accuracy",),
        targets=targets(on_cpu),
        brief=one_epoch,
        on_request=True,
    )


def _accuracies(task: Task, packs: list[list[Run]], **knobs: bool) -> Answer:
    config = replace(task.config, **knobs)
    given, found = (task.features, task.labels, task.split), []
    for runs in packs:
        outcome = train(*given, runs, CLASSES, config, brief=True)
        found += [run["test"]["accuracy"] for run in outcome.runs]
    return {"accuracy": _shares(found)}


def _shares(values: list[float] | list[Tensor]) -> Tensor:
    """Return the mean accuracy over seeds: what single seeds reach is no matter of speed."""
    return torch.tensor([float(value) for value in values], dtype=torch.float64).mean()[None]


def _flops(task: Task) -> float:
    """Count the products of all layers: forward, and two backward."""
    width, hidden = task.features.shape[1], task.config.hidden_dim
    weights = width * hidden + hidden * hidden // 2 + hidden // 2 * CLASSES
    return 6.0 * EPOCHS * SEEDS * len(task.split.train) * weights
