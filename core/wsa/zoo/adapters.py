"""Adapters: many low-rank updates of one frozen denoiser, each trained on its own images."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from wsa.generators import generator
from wsa.zoo.denoiser import NO_CLASS, TEXT_WIDTH, WIDTH, Denoiser, blend, levels
from wsa.zoo.sites import BLOCKS, PROJECTIONS, TEXT_PROJECTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsa.zoo.images import Images
    from wsa.zoo.plan import Plan

BATCH = 8
# Below this level a digit is hardly hidden, and its class of little use.
LEAST_NOISE = 0.2
# Spread of A at the start. From 0.18 training moved A far enough for its spread to tell the class:
# statistics of the stored matrices did so in .56 of the cases, from 0.35 in .38 (chance .10).
START = 0.35
DECAY, SQUARE_DECAY, TINY = 0.9, 0.999, 1e-8  # Adam's

Weights = dict[str, Tensor]

# Modules of one input width train as one stack; (block, projection) in published order.
STACKS = {
    "image": tuple((b, p) for b in range(len(BLOCKS)) for p in PROJECTIONS if p != TEXT_PROJECTION),
    "text": tuple((b, TEXT_PROJECTION) for b in range(len(BLOCKS))),
}
INPUT_WIDTHS = {"image": WIDTH, "text": TEXT_WIDTH}


@dataclass(frozen=True)
class Trained:
    """Adapters after training: stacks by name, and the error at every step."""

    weights: Weights  # "image.down" [N, 48, R, WIDTH], "image.up" [N, 48, WIDTH, R], "text...."
    losses: Tensor  # [N, steps]


@dataclass(frozen=True)
class Lessons:
    """What adapters see at every step; a leading N axis where several are stacked."""

    clean: Tensor  # [steps, BATCH, PATCHES, PATCH]
    noisy: Tensor  # [steps, BATCH, PATCHES, PATCH]
    level: Tensor  # [steps, BATCH]


def train(
    net: Denoiser, images: Images, plans: Sequence[Plan], rank: int, steps: int, start: int | None
) -> Trained:
    """Fine-tune one adapter per plan, all at once, under the prompt that names no class.

    `start` is the seed of an A that all share; with None each draws its own. B starts at zero.
    """
    net = deepcopy(net)  # functional_call swaps weights in place, and callers run side by side
    draws = [torch.Generator().manual_seed(plan.seed) for plan in plans]
    firsts = [first_weights(rank, draw, start) for draw in draws]
    weights = {name: torch.stack([first[name] for first in firsts]) for name in firsts[0]}
    pairs = zip(plans, draws, strict=True)
    seen = _stacked([lessons(plan, images, steps, draw) for plan, draw in pairs])
    rates = torch.tensor([plan.learning_rate for plan in plans])
    return _descend(net, weights, seen, rates)


def first_weights(rank: int, draw: torch.Generator, start: int | None) -> Weights:
    """Draw one adapter's A, from the shared seed `start` where there is one, beside a zero B."""
    if start is not None:
        draw = generator("shared start", start)
    weights = {}
    for stack, sites in STACKS.items():
        shape = (len(sites), rank, INPUT_WIDTHS[stack])
        weights[f"{stack}.down"] = START * torch.randn(shape, generator=draw)
        weights[f"{stack}.up"] = torch.zeros(len(sites), WIDTH, rank)
    return weights


def lessons(plan: Plan, images: Images, steps: int, draw: torch.Generator) -> Lessons:
    """Draw the images, noise and noise levels of every step of one adapter."""
    chosen = torch.randint(len(plan.pictures), (steps, BATCH), generator=draw)
    clean = images.patches[plan.pictures[chosen]]
    level = levels(BATCH, LEAST_NOISE, draw, steps)
    return Lessons(clean, blend(clean, torch.randn(clean.shape, generator=draw), level), level)


def _stacked(parts: Sequence[Lessons]) -> Lessons:
    return Lessons(
        torch.stack([part.clean for part in parts]),
        torch.stack([part.noisy for part in parts]),
        torch.stack([part.level for part in parts]),
    )


def _descend(net: Denoiser, weights: Weights, seen: Lessons, rates: Tensor) -> Trained:
    """Take one step of Adam per lesson, [N, steps]; every adapter has a rate of its own."""
    frozen: Weights = dict(net.named_parameters())
    gradients = vmap(grad_and_value(lambda *inputs: _error(net, frozen, *inputs)))
    mean = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    square = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    losses = []
    for step in range(seen.level.shape[1]):
        now = (seen.clean[:, step], seen.noisy[:, step], seen.level[:, step])
        gradient, loss = gradients(weights, *now)
        for name in weights:
            update = _adam(mean[name], square[name], gradient[name], step + 1)
            weights[name] = weights[name] - rates[:, None, None, None] * update
        losses.append(loss)
    return Trained(weights, torch.stack(losses, dim=1))


def _adam(mean: Tensor, square: Tensor, gradient: Tensor, step: int) -> Tensor:
    """Return Adam's update for rate 1; torch's own takes one rate per tensor, not per row."""
    mean.lerp_(gradient, 1 - DECAY)
    square.lerp_(gradient.square(), 1 - SQUARE_DECAY)
    spread = (square / (1 - SQUARE_DECAY**step)).sqrt() + TINY
    return mean / (1 - DECAY**step) / spread


def _error(
    net: Denoiser, frozen: Weights, weights: Weights, clean: Tensor, noisy: Tensor, level: Tensor
) -> Tensor:
    """Return the squared error of one adapter on one batch."""
    label = torch.full(level.shape, NO_CLASS)
    guess = functional_call(net, frozen | _adapted(frozen, weights), (noisy, level, label))
    return torch.nn.functional.mse_loss(guess, clean)


def _adapted(frozen: Weights, weights: Weights) -> Weights:
    """Return the adapted projections, W + up @ down, under the denoiser's own names."""
    adapted: Weights = {}
    for stack, sites in STACKS.items():
        names = [f"blocks.{block}.{projection}.weight" for block, projection in sites]
        updates = weights[f"{stack}.up"] @ weights[f"{stack}.down"]  # [48 or 16, WIDTH, in]
        whole = torch.stack([frozen[name] for name in names]) + updates
        adapted |= dict(zip(names, whole.unbind(), strict=True))
    return adapted
