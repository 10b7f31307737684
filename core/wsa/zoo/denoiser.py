"""Denoiser: a small conditional transformer that adapters are fine-tuned on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from wsa.zoo.images import PATCH, PATCHES
from wsa.zoo.recipe import CLASS_NAMES
from wsa.zoo.sites import BLOCKS

WIDTH, TEXT_WIDTH = 32, 24
# Two heads, not four: softmax over 16 x 16 scores was a sixth of a training step.
HEADS, PROMPT_TOKENS = 2, 4
# The prompt that names no class; adapters are trained under it, so the class must come from them.
NO_CLASS = len(CLASS_NAMES)


class Attention(nn.Module):
    """Attention of image tokens over themselves or over prompt tokens."""

    def __init__(self, source_width: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_k = nn.Linear(source_width, WIDTH, bias=False)
        self.to_v = nn.Linear(source_width, WIDTH, bias=False)
        self.to_out = nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        """Map [images, PATCHES, WIDTH] to the same shape, reading `source`.

        Written out: the fused attention of the CPU cannot be vectorised over adapters.
        """
        query, key, value = (
            part.unflatten(-1, (HEADS, -1)).transpose(-3, -2)
            for part in (self.to_q(tokens), self.to_k(source), self.to_v(source))
        )
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        out: Tensor = self.to_out((scores.softmax(-1) @ value).transpose(-3, -2).flatten(-2))
        return out


class Block(nn.Module):
    """Self-attention, cross-attention to the prompt, feed-forward; each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.attn1 = Attention(WIDTH)
        self.attn2 = Attention(TEXT_WIDTH)
        self.ff = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.SiLU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, tokens: Tensor, prompt: Tensor) -> Tensor:
        """Map [images, PATCHES, WIDTH] to the same shape under prompt tokens."""
        even = _normalised(tokens)
        tokens = tokens + self.attn1(even, even)
        tokens = tokens + self.attn2(_normalised(tokens), prompt)
        out: Tensor = tokens + self.ff(_normalised(tokens))
        return out


class Denoiser(nn.Module):
    """Predicts a clean digit from a noisy one, the noise level and a prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Linear(PATCH, WIDTH)
        self.position = nn.Parameter(torch.empty(PATCHES, WIDTH))
        self.noise = nn.Sequential(nn.Linear(1, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.prompt = nn.Embedding(len(CLASS_NAMES) + 1, PROMPT_TOKENS * TEXT_WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in BLOCKS)
        self.exit = nn.Linear(WIDTH, PATCH)

    def forward(self, noisy: Tensor, level: Tensor, label: Tensor) -> Tensor:
        """Map noisy [images, PATCHES, PATCH], level and label [images] to clean patches."""
        prompt = self.prompt(label).unflatten(-1, (PROMPT_TOKENS, TEXT_WIDTH))
        tokens = self.entry(noisy) + self.position + self.noise(level[:, None])[:, None]
        for block in self.blocks:
            tokens = block(tokens, prompt)
        out: Tensor = self.exit(_normalised(tokens))
        return out


def new_denoiser(draw: torch.Generator) -> Denoiser:
    """Draw an untrained denoiser; no random number comes from torch's global generator."""
    with torch.device("meta"):
        net = Denoiser()
    net.to_empty(device="cpu")
    with torch.no_grad():
        for name, weight in net.named_parameters():
            weight.normal_(std=_start(name, weight), generator=draw)
    return net


def blend(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Mix patches with noise: level 0 is the digit, level 1 is noise alone."""
    share = level[..., None, None]
    return (1 - share) * clean + share * noise


def levels(images: int, least: float, draw: torch.Generator, steps: int = 1) -> Tensor:
    """Draw noise levels in [least, 1], [steps, images]: one in every equal part, at each step."""
    even = (torch.arange(images) + torch.rand(steps, images, generator=draw)) / images
    return least + (1 - least) * even


def _normalised(tokens: Tensor) -> Tensor:
    return layer_norm(tokens, tokens.shape[-1:])


def _start(name: str, weight: Tensor) -> float:
    """Return the spread of a parameter before training; three branches add up in each block."""
    if name.endswith("bias"):
        return 0.0
    if name.startswith(("prompt", "position")):
        return 1.0 if name.startswith("prompt") else 0.3
    branch = name.endswith(("to_out.weight", "ff.2.weight"))
    scale = 0.5 * len(BLOCKS) ** -0.5 if branch else 0.6
    return float(scale * weight.shape[1] ** -0.5)
