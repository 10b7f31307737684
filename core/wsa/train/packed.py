"""S multilayer perceptrons in one model: every weight carries the seed as its first axis.

The seeds of one task are packed, two tasks are not. Of 22 runs, 400 adapters, one thread of the
CPU, an epoch took 16.7 ms as one model and 23.7 ms as two at 64 columns, 64 hidden units, but 258
and 246 ms at 640 and 512, where products decide; a step that was recorded waits for no launch, so
that nothing is left to gain on CUDA. And a task's bytes would depend on the tasks beside it, which
are others after a kill.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsa.generators import generator

if TYPE_CHECKING:
    from collections.abc import Sequence

# Numbers of a layer evaluated at once: 11 seeds x 8192 adapters x 512 float32 are 185 MB.
EVALUATED = 11 * 8192 * 512
# The weight that has a row for each column.
FIRST = "hidden.0.weight"


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
    """Columns -> hidden -> hidden // 2 -> outputs, S times side by side."""

    def __init__(
        self,
        seeds: Sequence[int],
        columns: int | Sequence[int],
        outputs: int,
        hidden_dim: int,
        padded: int = 0,
    ) -> None:
        """Draw each seed's weights from its own generator, as `torch.nn.Linear` does.

        Seeds that read different numbers of columns are padded to the widest, or to `padded`: a
        padded column is always zero, and so is its weight.
        """
        super().__init__()
        widths = [columns] * len(seeds) if isinstance(columns, int) else list(columns)
        sizes = [max(*widths, padded), hidden_dim, hidden_dim // 2, outputs]
        draws = [generator("weights", seed) for seed in seeds]
        first, second, last = (
            _draw(draws, inside, outside, widths if layer == 0 else None)
            for layer, (inside, outside) in enumerate(pairwise(sizes))
        )
        self.hidden = nn.ModuleList([HiddenLayer(first), HiddenLayer(second)])
        self.weight = nn.Parameter(last)  # [S, hidden // 2, O]
        self.bias = nn.Parameter(_bias(draws, sizes[-2], outputs))  # [S, 1, O]
        self.columns, self.widths, self.read = sizes[0], (sizes[1], sizes[2]), max(widths)

    def forward(self, values: Tensor, masks: Sequence[Tensor] | None = None) -> Tensor:
        """Map [S, B, D] to the outputs [S, B, O]."""
        for layer, mask in zip(self.hidden, masks or (None, None), strict=True):
            values = layer(values, mask)
        return torch.baddbmm(self.bias, values, self.weight)

    @torch.no_grad()
    def evaluate(self, features: Tensor, columns: Tensor | None = None) -> Tensor:
        """Map [n, D] features to float32 outputs [S, n, O].

        Every seed reads all of them, or those that its row of `columns` [S, W] names. Features on
        another device come block by block.
        """
        was_training = self.training
        self.eval()
        seeds, width = self.weight.shape[0], max(self.columns, self.widths[0])
        here = self.bias.device
        mine = None if columns is None else columns.to(here)
        parts = torch.split(features, max(1, EVALUATED // (seeds * width)))
        blocks = [
            self(block.expand(seeds, -1, -1) if mine is None else chosen(block, mine))
            for block in (part.to(here) for part in parts)
        ]
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

    def trimmed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a state without the weights of columns that only pad: they are zeros."""
        if self.columns == self.read:
            return state
        return state | {FIRST: state[FIRST][:, : self.read].contiguous()}

    def widened(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a trimmed state with zeros for the columns that only pad."""
        return state | {FIRST: functional.pad(state[FIRST], (0, 0, 0, self.columns - self.read))}

    def _named(self) -> list[tuple[str, Tensor]]:
        return [*self.named_parameters(), *self.named_buffers()]


def chosen(features: Tensor, columns: Tensor) -> Tensor:
    """Give every seed its own columns [S, W] of [n, D] features: [S, n, W]."""
    return features.T[columns].transpose(1, 2)


def _draw(
    draws: Sequence[torch.Generator], inside: int, outside: int, widths: Sequence[int] | None
) -> Tensor:
    """Draw [S, in, out] uniformly from +- 1 / sqrt(in): the default of `torch.nn.Linear`.

    Of a padded seed only the rows of its own width are drawn, as if it were alone.
    """
    out = torch.zeros(len(draws), inside, outside)
    for index, draw in enumerate(draws):
        width = inside if widths is None else widths[index]
        out[index, :width].uniform_(-(width**-0.5), width**-0.5, generator=draw)
    return out


def _bias(draws: Sequence[torch.Generator], inside: int, outputs: int) -> Tensor:
    out = torch.empty(len(draws), 1, outputs)
    for index, draw in enumerate(draws):
        out[index].uniform_(-(inside**-0.5), inside**-0.5, generator=draw)
    return out
