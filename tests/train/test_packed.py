from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from wsa.train import Run, Split, TrainConfig
from wsa.train.packed import PackedModel
from wsa.train.parts import Part, arrange
from wsa.train.trainer import Trainer

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]

EPOCHS = 10  # of two steps each


@pytest.fixture
def parts_of(planted: Planted, plain_split: PlainSplit) -> Callable[..., dict[str, Part]]:
    def make(*runs: Run) -> dict[str, Part]:
        features, labels = planted(adapters=80, columns=33)
        return arrange(features, labels, plain_split(80), runs)[1]

    return make


def trained(parts: dict[str, Part], runs: list[Run], config: TrainConfig) -> dict[str, Tensor]:
    trainer = Trainer(parts, runs, 4, config)
    for _ in range(EPOCHS):
        trainer.run_epoch()
    return {name: value.clone() for name, value in trainer.model.state().items()}


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_seeds_packed_are_seeds_alone_after_twenty_steps(
    parts_of: Callable[..., dict[str, Part]], small_config: SmallConfig, dropout: float
) -> None:
    config = small_config(dropout=dropout, batch_size=24, max_epochs=EPOCHS, patience=EPOCHS)
    runs = [Run(3), Run(8), Run(3, shuffled=True)]
    packed = trained(parts_of(*runs), runs, config)
    for index, run in enumerate(runs):
        for name, alone in trained(parts_of(run), [run], config).items():
            torch.testing.assert_close(packed[name][index], alone[0], rtol=1e-5, atol=1e-5)


def plain_network(model: PackedModel, index: int) -> nn.Sequential:
    """Copy one seed into torch's own layers."""
    state = {name: value[index] for name, value in model.state().items()}
    weights = [state[f"{name}weight"].T.clone() for name in ("hidden.0.", "hidden.1.", "")]
    hidden = [nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights[:2]]
    last = nn.Linear(weights[2].shape[1], weights[2].shape[0])
    for layer, weight in zip([*hidden, last], weights, strict=True):
        layer.weight.data = weight
    last.bias.data = state["bias"][0].clone()
    norms = [nn.BatchNorm1d(width) for width in model.widths]
    return nn.Sequential(hidden[0], norms[0], nn.ReLU(), hidden[1], norms[1], nn.ReLU(), last)


# The packed names, each with its name in plain_network.
NAMES = {
    "weight": "6.weight",
    "bias": "6.bias",
    "hidden.0.weight": "0.weight",
    "hidden.0.scale": "1.weight",
    "hidden.0.shift": "1.bias",
    "hidden.0.running_mean": "1.running_mean",
    "hidden.0.running_var": "1.running_var",
    "hidden.1.weight": "3.weight",
    "hidden.1.scale": "4.weight",
    "hidden.1.shift": "4.bias",
    "hidden.1.running_mean": "4.running_mean",
    "hidden.1.running_var": "4.running_var",
}


def train_plainly(plain: nn.Sequential, part: Part, orders: list[Tensor], size: int) -> None:
    optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.01)
    for order in orders:
        for rows in torch.split(order, size):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(plain(part.features[rows]), part.labels[0, rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


@pytest.mark.parametrize("index", [0, 1])
def test_packed_training_is_plain_torch_training(
    parts_of: Callable[..., dict[str, Part]], small_config: SmallConfig, index: int
) -> None:
    runs = [Run(0), Run(1)]
    parts = parts_of(*runs)
    knobs = {"dropout": 0.0, "batch_size": 24, "weight_decay": 0.01, "learning_rate": 1e-3}
    trainer = Trainer(parts, runs, 4, small_config(**knobs))
    plain, orders = plain_network(trainer.model, index), []
    for _ in range(EPOCHS):
        trainer.run_epoch()
        orders.append(trainer._orders()[index])
    train_plainly(plain, parts["train"], orders, 24)
    expected = plain.state_dict()
    for name, value in trainer.model.state().items():
        found = value[index].T if name.endswith("weight") else value[index].flatten()
        torch.testing.assert_close(found, expected[NAMES[name]], rtol=1e-5, atol=1e-5)


def test_weights_start_as_those_of_torch_linear() -> None:
    weight = PackedModel([0, 1], 400, 3, 64).state()["hidden.0.weight"]
    bound = 1 / math.sqrt(400)
    assert 0.999 * bound < weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    assert not torch.equal(weight[0], weight[1])


def test_a_seed_starts_alike_in_any_company() -> None:
    alone, packed = PackedModel([5], 9, 3, 8).state(), PackedModel([1, 5], 9, 3, 8).state()
    assert all(torch.equal(alone[name][0], packed[name][1]) for name in alone)


def test_evaluation_in_blocks_is_evaluation_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PackedModel([0, 1], 6, 3, 8)
    features = torch.randn(11, 6, generator=torch.Generator().manual_seed(0))
    whole = model.evaluate(features)
    monkeypatch.setattr("wsa.train.packed.EVALUATED", 4 * 2 * 8)
    torch.testing.assert_close(model.evaluate(features), whole)


def test_evaluation_leaves_no_trace_on_the_model() -> None:
    model = PackedModel([0, 1], 6, 3, 8)
    before = {name: value.clone() for name, value in model.state().items()}
    model.evaluate(torch.ones(5, 6))
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state().items())


def test_dropped_seeds_leave_the_others_as_they_are() -> None:
    model = PackedModel([0, 1, 2], 6, 3, 8)
    features = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    before = model.evaluate(features)
    model.keep(torch.tensor([2, 0]))
    torch.testing.assert_close(model.evaluate(features), before[[2, 0]])
