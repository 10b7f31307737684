"""Compiling the training step: one form for tasks of like width, and whether it pays."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from wsa_kernels.compilation import one_form

if TYPE_CHECKING:
    from torch import Tensor

    from wsa.train.goal import Goal
    from wsa.train.packed import PackedModel

# Four widths an octave: a width grows by a quarter at most, and by a tenth in the mean.
OCTAVE = 4
# Tensor cores take eight half-precision columns at once.
ALIGNED = 8
# What early stopping leaves of --max-epochs on the populations measured so far.
USUAL_EPOCHS = 45

Loss = Callable[..., "Tensor"]


def bucket(width: int) -> int:
    """Return the width that a compiled step pads columns to: 8, 16, ... 56, 64, 80, 96, 112..."""
    step = max(ALIGNED, (1 << (width - 1).bit_length()) // (2 * OCTAVE))
    return -(-width // step) * step


def packed_loss(
    model: PackedModel,
    goal: Goal,
    dtype: torch.dtype,
    values: Tensor,
    wanted: Tensor,
    masks: Sequence[Tensor] | None,
) -> Tensor:
    """Return the sum over seeds of the mean loss over the batch: no seed feels another."""
    with torch.autocast(values.device.type, dtype, enabled=dtype != torch.float32):
        outputs = model(values, masks).float()  # [S, B, O]
    return goal.misfit(outputs, wanted).sum() / wanted.shape[1]


class Forms:
    """Compiled forms of the loss by shape, for every task of a process."""

    def __init__(self) -> None:
        self.known: dict[Hashable, Loss] = {}
        self.spent = 0.0  # seconds, in first calls

    def call(self, model: PackedModel, goal: Goal, dtype: torch.dtype, *given: Any) -> Tensor:
        """Return `packed_loss`, compiled where its shapes are new; raises what compiling raises."""
        key = self.key(model, goal, dtype, *given)
        form = self.known.get(key)
        if form is not None:
            return form(model, goal, dtype, *given)
        form, started = one_form(packed_loss), time.monotonic()
        loss: Tensor = form(model, goal, dtype, *given)
        self.known[key], self.spent = form, self.spent + time.monotonic() - started
        return loss

    @staticmethod
    def key(
        model: PackedModel,
        goal: Goal,
        dtype: torch.dtype,
        values: Tensor,
        wanted: Tensor,
        masks: Sequence[Tensor] | None,
    ) -> Hashable:
        """Return all that must be equal for two steps to share compiled code."""
        kind = (goal.kind, goal.classes, dtype, values.device, wanted.dtype)
        return (*kind, tuple(values.shape), model.widths, masks is None)


forms = Forms()


@dataclass
class Worth:
    """What compiling costs and saves; assumed until this process has measured it."""

    # kernels.md of the design: 10 to 40 s on CUDA, cold
    compile_seconds: float = 40.0
    # Of a recorded step, which waits for no launch: products and AdamW, which compiling leaves
    # alone, move four fifths of its bytes.
    gain: float = 0.2

    def pays(self, step_seconds: float, steps: int) -> bool:
        """Tell whether so many steps gain more than a compilation takes."""
        return steps * step_seconds * self.gain > self.compile_seconds

    def learn(self, compile_seconds: float, plain: float, compiled: float) -> None:
        """Take what was measured in place of what was assumed."""
        self.compile_seconds, self.gain = compile_seconds, max(0.0, 1 - compiled / plain)


worth = Worth()
