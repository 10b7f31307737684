"""One training step of the packed model: masks, loss, gradients, AdamW, in the right precision."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from wsa.train.compiling import forms, packed_loss
from wsa.train.packed import FIRST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from wsa.train.config import TrainConfig
    from wsa.train.goal import Goal
    from wsa.train.packed import PackedModel

    Sized = Callable[[dict[str, Tensor]], dict[str, Tensor]]

MOMENTS = ("exp_avg", "exp_avg_sq")


class Step:
    """The model, its optimiser and its scaler; `compiled` turns False where no compiler is."""

    def __init__(
        self,
        model: PackedModel,
        config: TrainConfig,
        dtype: torch.dtype,
        compiled: bool,
        goal: Goal,
    ) -> None:
        self.model, self.dtype, self.compiled, self.goal = model, dtype, compiled, goal
        self.dropout = config.dropout
        self.warnings: list[str] = []
        self.device = model.bias.device
        # Elementwise on [S, ...], so exactly S independent AdamWs. Fused reads and writes each
        # number once: 9 ms for 20 M parameters on one thread, foreach 64 ms. Only a capturable one
        # can be recorded as a graph, and torch warns of one that is not.
        self.capturable = self.device.type == "cuda" and config.graph is not False
        self.optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
            capturable=self.capturable,
        )
        self.scaler = self._scaler()

    def _scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def autocast(self) -> torch.autocast:
        """Return the context in which products run in half precision, where they shall."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def take(self, values: Tensor, labels: Tensor, draws: Sequence[torch.Generator]) -> None:
        """Train on [S, B, D] features and [S, B] labels, with dropout from one draw a seed."""
        self.optimiser.zero_grad(set_to_none=True)
        masks = self._masks(values.shape[1], draws) if self.dropout else None
        loss = self._loss(values, self.goal.wanted(labels), masks)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def _loss(self, values: Tensor, wanted: Tensor, masks: Sequence[Tensor] | None) -> Tensor:
        given = (self.model, self.goal, self.dtype, values, wanted, masks)
        if not self.compiled:
            return packed_loss(*given)
        from torch._dynamo.exc import BackendCompilerFailed

        try:
            return forms.call(*given)
        except BackendCompilerFailed as problem:
            reason = str(problem.inner_exception).strip().splitlines()[0]
            self.warnings.append(f"no compiled training step, trained without: {reason}")
            self.compiled = False
            return packed_loss(*given)

    def _masks(self, rows: int, draws: Sequence[torch.Generator]) -> list[Tensor]:
        """Draw what dropout leaves, scaled to keep the mean: [S, B, width] for each layer.

        A neuron costs 16 random bits: 0.3 ms where `uniform_` takes 1.5 ms for 4 x 256 x 768.
        """
        widths = list(self.model.widths)
        count = rows * sum(widths)
        words = torch.empty(len(draws), -(-count // 4), dtype=torch.int64, device=self.device)
        for index, draw in enumerate(draws):
            words[index].random_(-(2**63), None, generator=draw)
        levels = words.view(torch.int16)[:, :count].view(len(draws), rows, sum(widths))
        dropped = min(round(self.dropout * 2**16), 2**16 - 1)  # of 65,536 levels
        kept = (levels >= dropped - 2**15).to(self.dtype).mul_(2**16 / (2**16 - dropped))
        return list(torch.split(kept, widths, dim=2))

    def keep(self, seeds: Tensor) -> None:
        """Drop all but some seeds from the model and from AdamW's moments."""
        self.model.keep(seeds)
        for moments in self.optimiser.state.values():
            for name in MOMENTS:
                moments[name] = moments[name][seeds]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Let steps be taken that never were: all they change is put back, in place."""
        weights = {name: value.clone() for name, value in self.model.state().items()}
        moments = {
            parameter: {name: value.clone() for name, value in state.items()}
            for parameter, state in self.optimiser.state.items()
        }
        scale = self.scaler.state_dict()
        yield
        for name, value in self.model.state().items():
            value.copy_(weights[name])
        for parameter, state in self.optimiser.state.items():
            before = moments.get(parameter, {})
            for name, value in state.items():
                # what the first step ever made begins at nought
                value.copy_(before[name]) if name in before else value.zero_()
        self.scaler.load_state_dict(scale)

    def give_up_graph(self) -> None:
        """Go on without a graph, with a scaler that knows of no step half taken."""
        self._make_capturable(False)
        scale, self.scaler = self.scaler.state_dict(), self._scaler()
        self.scaler.load_state_dict(scale)

    def _make_capturable(self, capturable: bool) -> None:
        self.capturable = capturable
        for group in self.optimiser.param_groups:
            group["capturable"] = capturable

    def state(self) -> dict[str, Any]:
        """Return parameters, BatchNorm statistics, moments and scale."""
        return {
            "model": self.model.trimmed(self.model.state()),
            "optimiser": self._moments(self.optimiser.state_dict(), self.model.trimmed),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of an earlier sitting, which may have padded other columns."""
        self.model.take(self.model.widened(state["model"]))
        self.optimiser.load_state_dict(self._moments(state["optimiser"], self.model.widened))
        self._make_capturable(self.capturable)  # the last sitting may have had another device
        self.scaler.load_state_dict(state["scaler"])

    def _moments(self, found: dict[str, Any], sized: Sized) -> dict[str, Any]:
        """Return an optimiser's state with the moments of the first weight sized as it is."""
        place = [name for name, _ in self.model.named_parameters()].index(FIRST)
        if place not in found["state"]:
            return found
        mine = found["state"][place]
        moments = {name: sized({FIRST: mine[name]})[FIRST] for name in MOMENTS}
        return found | {"state": found["state"] | {place: mine | moments}}
