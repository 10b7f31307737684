"""Pretraining: the base model, trained on every digit class and then frozen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wsa.generators import generator
from wsa.progress import progress
from wsa.storage import digest
from wsa.zoo.denoiser import NO_CLASS, Denoiser, blend, levels, new_denoiser

if TYPE_CHECKING:
    from wsa.zoo.images import Images

BATCH = 32
PEAK_RATE = 3e-3
WARM_UP = 0.1  # of all steps
# Every third digit comes without its class, so that the empty prompt means "any digit".
DROPPED_PROMPTS = 1 / 3


def pretrain(images: Images, steps: int, seed: int) -> Denoiser:
    """Train the denoiser for some steps of AdamW and return it frozen.

    300 steps bring the squared error from 1.0 to 0.14 in some ten seconds of one core.
    """
    draw = generator("base", seed)
    net = new_denoiser(draw)
    optimizer = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    with progress("base model", steps, "steps") as report:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = PEAK_RATE * _rate(step, steps)
            optimizer.zero_grad()
            loss = _loss(net, images, draw)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            report.advance(note=f"error {loss.item():.3f}")
    return net.requires_grad_(False)


def weights_digest(net: Denoiser) -> str:
    """Return the digest of all weights, which says whether two zoos share a base model."""
    flat = torch.cat([weight.flatten() for weight in net.parameters()])
    return digest(flat.numpy().tobytes())


def _loss(net: Denoiser, images: Images, draw: torch.Generator) -> Tensor:
    chosen = torch.randint(len(images.labels), (BATCH,), generator=draw)
    clean, label = images.patches[chosen], images.labels[chosen]
    dropped = torch.rand(BATCH, generator=draw) < DROPPED_PROMPTS
    level = levels(BATCH, 0.0, draw)[0]
    noisy = blend(clean, torch.randn(clean.shape, generator=draw), level)
    guess = net(noisy, level, label.masked_fill(dropped, NO_CLASS))
    return torch.nn.functional.mse_loss(guess, clean)


def _rate(step: int, steps: int) -> float:
    """Rise linearly to 1, then fall along a cosine to 0."""
    done = (step + 1) / steps
    if done < WARM_UP:
        return done / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
