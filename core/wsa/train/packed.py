"""S multilayer perceptrons in one model: every weight carries the seed as its first axis."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsa.generators import generator

if TYPE_CHECKING:
    from collections.abc import Sequence

# Adapters evaluated at once: 11 seeds x 8192 x 512 float32 are 185 MB.
EVALUATED = 8192


class HiddenLayer(nn.Module):
    """Product, BatchNorm, ReLU, dropout: [S, B, in] to [S, B, out].

    The product has no bias of its own: BatchNorm would subtract it again.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        seeds, _, width = weight.shape
        self.weight = nn.Parameter(weight)  # [S, in, out]
        self.scale = nn.Parameter(torch.ones(seeds, width))
        self.shift = nn.Parameter(torch.zeros(seeds, width))
        self.register_buffer("running_mean", torch.zeros(seeds, width))
        self.register_buffer("running_var", torch.ones(seeds, width))

    def forward(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """Apply the layer; `mask` [S, B, out] multiplies what it gives."""
        hidden = functional.relu(self.normalise(torch.bmm(values, self.weight)))
        return hidden if mask is None else hidden * mask

    def normalise(self, hidden: Tensor) -> Tensor:
        """Normalise [S, B, out] over the batch, every seed by itself.

        Seeds become channels of one ordinary BatchNorm, [B, S * out].
        """
        seeds, rows, width = hidden.shape
        flat = functional.batch_norm(
            hidden.transpose(0, 1).reshape(rows, seeds * width),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.scale.flatten(),
            self.shift.flatten(),
            training=self.training,
        )
        return flat.view(rows, seeds, width).transpose(0, 1)


class PackedModel(nn.Module):
    """Columns -> hidden -> hidden // 2 -> classes, S times side by side."""

    def __init__(self, seeds: Sequence[int], columns: int, classes: int, hidden_dim: int) -> None:
        """Draw each seed's weights from its own generator, as `torch.nn.Linear` does."""
        super().__init__()
        sizes = [columns, hidden_dim, hidden_dim // 2, classes]
        draws = [generator("weights", seed) for seed in seeds]
        first, second, last = (
            _draw(draws, inside, (inside, outside)) for inside, outside in pairwise(sizes)
        )
        self.hidden = nn.ModuleList([HiddenLayer(first), HiddenLayer(second)])
        self.weight = nn.Parameter(last)  # [S, hidden // 2, K]
        self.bias = nn.Parameter(_draw(draws, sizes[-2], (1, classes)))  # [S, 1, K]
        self.widths = (sizes[1], sizes[2])

    def forward(self, values: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Map [S, B, D] to the logits [S, B, K]."""
        for layer, mask in zip(self.hidden, masks or (None, None), strict=True):
            values = layer(values, mask)
        return torch.baddbmm(self.bias, values, self.weight)

    @torch.no_grad()
    def evaluate(self, features: Tensor) -> Tensor:
        """Map [n, D] features, the same for every seed, to float32 logits [S, n, K]."""
        was_training = self.training
        self.eval()
        seeds = len(self.bias)
        blocks = [self(block.expand(seeds, -1, -1)) for block in torch.split(features, EVALUATED)]
        self.train(was_training)
        return torch.cat(blocks, dim=1).float()

    def state(self) -> dict[str, Tensor]:
        """Return parameters and BatchNorm statistics by name: the tensors themselves, [S, ...]."""
        return {name: value.detach() for name, value in self._named()}

    def take(self, state: dict[str, Tensor]) -> None:
        """Hold another state, of any number of seeds; parameters stay the same objects."""
        for name, value in self._named():
            value.data, value.grad = state[name], None

    def keep(self, seeds: Tensor) -> None:
        """Drop all but some seeds."""
        self.take({name: value[seeds] for name, value in self.state().items()})

    def _named(self) -> list[tuple[str, Tensor]]:
        return [*self.named_parameters(), *self.named_buffers()]


def _draw(draws: Sequence[torch.Generator], inside: int, shape: tuple[int, int]) -> Tensor:
    """Draw [S, *shape] uniformly from +- 1 / sqrt(in): the default of `torch.nn.Linear`."""
    out = torch.empty(len(draws), *shape)
    for index, draw in enumerate(draws):
        out[index].uniform_(-(inside**-0.5), inside**-0.5, generator=draw)
    return out
