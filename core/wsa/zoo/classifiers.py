"""Classifiers: thousands of small digit classifiers from scratch, trained side by side.

After Unterthiner et al. 2020, on 8 x 8 digits: 64-16-16-10 networks whose learning rate, initial
scale, weight decay, share of the training images, number of steps and activation vary.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from wsa.generators import generator
from wsa.progress import progress

if TYPE_CHECKING:
    from wsa.zoo.recipe import MlpRecipe

SIZES = (64, 16, 16, 10)
BATCH = 32
# Networks trained together: small enough for a core's cache, large enough for its products.
CHUNK = 125
TEST_SHARE = 1 / 3
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
ACTIVATIONS = ("relu", "tanh")
# Exponents of ten: wide on purpose, so that some networks learn nothing.
LEARNING_RATES, SCALES, DECAYS = (-2.5, -0.2), (-1.5, 0.3), (-5.0, -1.5)
LEAST_STEPS = 20


@dataclass(frozen=True)
class Knobs:
    """How each of n networks is trained, [n] each."""

    learning_rate: Tensor
    init_scale: Tensor
    weight_decay: Tensor
    train_fraction: Tensor
    steps: Tensor
    tanh: Tensor  # bool

    def __getitem__(self, rows: slice) -> Knobs:
        return Knobs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Classifiers:
    """Trained weights by name, [n, rows, cols], and how good they are, [n]."""

    weights: dict[str, Tensor]
    test_accuracy: Tensor
    test_loss: Tensor
    train_accuracy: Tensor


@dataclass(frozen=True)
class Digits:
    """Pixels [images, 64] in 0..1 and classes, for training and for testing."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def load_digits() -> Digits:
    """Part the digits that come with scikit-learn, the same way for every zoo."""
    from sklearn.datasets import load_digits as load

    found = load()
    pixels, labels = torch.tensor(found.data).float() / 16, torch.tensor(found.target)
    order = torch.randperm(len(labels), generator=generator("classifier digits", 0))
    held = round(TEST_SHARE * len(labels))
    test, train = order[:held], order[held:]
    return Digits((pixels[train], labels[train]), (pixels[test], labels[test]))


def draw_knobs(recipe: MlpRecipe) -> Knobs:
    """Draw every network's knobs; the first of a larger zoo are those of a smaller one."""
    draws = torch.rand(recipe.n, 6, generator=generator("classifier knobs", recipe.seed))
    rate, scale, decay = (
        10 ** (low + (high - low) * draws[:, index])
        for index, (low, high) in enumerate((LEARNING_RATES, SCALES, DECAYS))
    )
    fraction = torch.tensor(FRACTIONS)[(draws[:, 3] * len(FRACTIONS)).long()]
    least = min(LEAST_STEPS, recipe.steps)
    steps = least + (draws[:, 4] * (recipe.steps + 1 - least)).long()
    return Knobs(rate, scale, decay, fraction, steps, draws[:, 5] < 0.5)


def train_classifiers(recipe: MlpRecipe, knobs: Knobs, digits: Digits, workers: int) -> Classifiers:
    """Train all networks, chunks of them side by side; the same bytes on any number of cores."""
    starts = range(0, len(knobs), CHUNK)

    def work(start: int) -> Classifiers:
        draw = generator("classifiers", recipe.seed, start)
        return _train_chunk(knobs[start : start + CHUNK], digits, draw)

    pool = ThreadPoolExecutor(workers)
    done = []
    try:
        with progress("networks", len(knobs), "networks") as report:
            for part in pool.map(work, starts):
                done.append(part)
                mean = float(part.test_accuracy.mean())
                report.advance(len(part.test_accuracy), f"test accuracy {mean:.3f}")
    finally:
        pool.shutdown(cancel_futures=True)
    weights = {name: torch.cat([part.weights[name] for part in done]) for name in done[0].weights}
    names = ("test_accuracy", "test_loss", "train_accuracy")
    return Classifiers(
        weights, *(torch.cat([getattr(part, name) for part in done]) for name in names)
    )


def _train_chunk(knobs: Knobs, digits: Digits, draw: torch.Generator) -> Classifiers:
    weights = _start(knobs, draw)
    pixels, labels = digits.train
    members = (knobs.train_fraction * len(labels)).long()
    for step in range(int(knobs.steps.max())):
        # with replacement, among the first images only: a network's own share of them
        chosen = (torch.rand(len(knobs), BATCH, generator=draw) * members[:, None]).long()
        rate = knobs.learning_rate * (step < knobs.steps)
        _descend(weights, knobs, rate, pixels[chosen], labels[chosen])
    with torch.no_grad():
        test = _forward(weights, knobs, digits.test[0].expand(len(knobs), -1, -1))
        train = _forward(weights, knobs, pixels.expand(len(knobs), -1, -1))
        loss = _losses(test, digits.test[1].expand(len(knobs), -1)).mean(1)
    named = {name: weight.detach().mT.contiguous() for name, weight in weights.items()}
    return Classifiers(
        named, _accuracy(test, digits.test[1]), loss, _accuracy(train, digits.train[1])
    )


def _start(knobs: Knobs, draw: torch.Generator) -> dict[str, Tensor]:
    """Draw normal weights [n, in, out], scaled by the network's own scale, and zero biases."""
    weights = {}
    for index, (inside, outside) in enumerate(pairwise(SIZES)):
        drawn = torch.randn(len(knobs), inside, outside, generator=draw)
        scaled = drawn * knobs.init_scale[:, None, None] * inside**-0.5
        weights[f"layers.{index}.weight"] = scaled.requires_grad_()
        bias = torch.zeros(len(knobs), 1, outside)
        weights[f"layers.{index}.bias"] = bias.requires_grad_()
    return weights


def _forward(weights: dict[str, Tensor], knobs: Knobs, values: Tensor) -> Tensor:
    """Map [n, B, 64] to the logits [n, B, 10]."""
    tanh, last = knobs.tanh[:, None, None], len(SIZES) - 2
    for index in range(last + 1):
        weight, bias = weights[f"layers.{index}.weight"], weights[f"layers.{index}.bias"]
        values = torch.baddbmm(bias, values, weight)
        if index < last:
            values = torch.where(tanh, torch.tanh(values), torch.relu(values))
    return values


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.mT, labels, reduction="none")


def _descend(
    weights: dict[str, Tensor], knobs: Knobs, rate: Tensor, values: Tensor, labels: Tensor
) -> None:
    """Take one step of plain gradient descent; a rate of zero leaves a network as it is.

    No gradient is longer than 1: a network may learn nothing, but its weights stay numbers.
    """
    loss = _losses(_forward(weights, knobs, values), labels).mean(1).sum()
    gradients = torch.autograd.grad(loss, list(weights.values()))
    lengths = torch.stack([each.square().sum((1, 2)) for each in gradients]).sum(0).sqrt()
    shorter = (1 / lengths.clamp(min=1.0))[:, None, None]
    pace, decay = rate[:, None, None], knobs.weight_decay[:, None, None]
    with torch.no_grad():
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight -= pace * (gradient * shorter + decay * weight)


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(-1) == labels).float().mean(1)
