"""Goal: what is to be told from features, and how far an answer is from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

CLASSES, REGRESSION, ORDINAL = "classes", "regression", "ordinal"
KINDS = (CLASSES, REGRESSION, ORDINAL)
# What a choice looks at, on validation: higher is better.
PRIMARY = {CLASSES: "accuracy", REGRESSION: "r2", ORDINAL: "kappa_quadratic"}
# What buys patience. In nats: without it, on 400 adapters, runs at a loss of 0.04 went on through
# all 200 epochs. Of the variance: 0.001 is a tenth of a point of R2, where 0.01 is all of the rest.
GAINS = {CLASSES: 0.01, REGRESSION: 0.001, ORDINAL: 0.01}

# standard deviations: the largest number of float32
FARTHEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True)
class Goal:
    """K classes, K levels in order, or a number, which is learnt in standard deviations."""

    kind: str = CLASSES
    classes: int = 2  # K; 1 for a number
    mean: float = 0.0  # of the training labels, where they are numbers
    std: float = 1.0

    @property
    def outputs(self) -> int:
        """How many outputs a network needs: one a class, or one a step between two levels."""
        return {CLASSES: self.classes, ORDINAL: self.classes - 1, REGRESSION: 1}[self.kind]

    @property
    def primary(self) -> str:
        """Name the metric that choices look at; higher is better."""
        return PRIMARY[self.kind]

    @property
    def gain(self) -> float:
        """By how much a validation loss must fall to buy patience."""
        return GAINS[self.kind]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of every adapter, [S, B], of outputs [S, B, O]."""
        return self.misfit(outputs, self.wanted(labels))

    def scaled(self, numbers: Any) -> Any:
        """Return numbers, a tensor or an array, about the training mean in standard deviations."""
        return (numbers - self.mean) / self.std

    def unscaled(self, numbers: Any) -> Any:
        """Return numbers in their own unit again."""
        return numbers * self.std + self.mean

    def wanted(self, labels: Tensor) -> Tensor:
        """Return what the outputs are held to: a number in standard deviations, else the label."""
        if self.kind == REGRESSION:
            scaled: Tensor = self.scaled(labels).float()
            return scaled
        return labels

    def misfit(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of every adapter, [S, B], of outputs held to what is wanted of them.

        It reads neither mean nor spread: one compiled form serves the splits of every label.
        """
        if self.kind == REGRESSION:
            return (outputs.squeeze(-1) - labels).square()
        if self.kind == ORDINAL:
            steps = torch.arange(self.classes - 1, device=labels.device)
            above = (labels[..., None] > steps).float()
            found = functional.binary_cross_entropy_with_logits(outputs, above, reduction="none")
            return found.sum(-1)
        flat = functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
        return flat.view(labels.shape)

    def answers(self, outputs: Tensor) -> NDArray[Any]:
        """Return probabilities [S, n, K], or of a number the prediction [S, n]."""
        exact = outputs.double()
        if self.kind == REGRESSION:
            # what overflowed on one adapter is as wrong as can be, and its errors are numbers
            known = exact.squeeze(-1).nan_to_num(FARTHEST, FARTHEST, -FARTHEST)
            found: Tensor = self.unscaled(known)
        elif self.kind == ORDINAL:
            found = _levels(exact)
        else:
            found = exact.softmax(-1)
        return found.cpu().numpy()


def _levels(outputs: Tensor) -> Tensor:
    """Turn the chances of lying above each step, made to fall, into those of each level."""
    above = outputs.sigmoid().cummin(-1).values
    edge = torch.ones_like(above[..., :1])
    return torch.cat([edge, above], -1) - torch.cat([above, 0 * edge], -1)


def as_goal(goal: Goal | int) -> Goal:
    """Return a goal; a whole number K stands for K classes."""
    return Goal(CLASSES, goal) if isinstance(goal, int) else goal
