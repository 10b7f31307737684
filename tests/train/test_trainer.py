from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wsa.generators import generator
from wsa.train import Goal, Run, Split, TrainConfig
from wsa.train.packed import PackedModel
from wsa.train.parts import arrange
from wsa.train.step import Step
from wsa.train.trainer import Trainer, batch_sizes

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]
MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(
    planted: Planted, plain_split: PlainSplit, small_config: SmallConfig
) -> MakeTrainer:
    def make(*runs: Run, signal: float = 1.0, **knobs: Any) -> Trainer:
        features, labels = planted(signal=signal)
        parts = arrange(features, labels, plain_split(80), runs)[1]
        return Trainer(parts, runs, 4, small_config(**knobs))

    return make


@pytest.mark.parametrize("batch", [2, 3, 16, 32, 64])
def test_batches_take_every_adapter_and_none_alone(batch: int) -> None:
    for adapters in range(2, 200):
        sizes = batch_sizes(adapters, batch)
        assert sum(sizes) == adapters
        assert min(sizes) >= 2
        assert max(sizes) <= batch + 1
        assert max(sizes) - min(sizes) <= 1


def test_an_epoch_waits_for_the_device_only_at_its_end(make_trainer: MakeTrainer) -> None:
    waits = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
                waits.append(func)
            return func(*args, **(kwargs or {}))

    trainer = make_trainer(Run(0), Run(1))
    with Watch():  # type: ignore[no-untyped-call]
        trainer.stride(16)
    assert waits == []


def test_each_epoch_and_each_seed_has_an_order_of_its_own(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(Run(0), Run(1))
    orders = []
    for trainer.epoch in (1, 2):
        orders += trainer._orders().tolist()
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(48)) for order in orders)


def test_dropout_leaves_its_share_and_keeps_the_mean() -> None:
    config = TrainConfig(hidden_dim=64, dropout=0.3)
    step = Step(PackedModel([0, 1], 5, 3, 64), config, torch.float32, False, Goal())
    masks = step._masks(3001, [generator("dropout", seed) for seed in (0, 1)])
    assert [list(mask.shape) for mask in masks] == [[2, 3001, 64], [2, 3001, 32]]
    for mask in masks:
        assert (mask == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
        assert mask.mean().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(masks[0][0], masks[0][1])


def test_the_best_state_is_that_of_the_best_epoch_and_no_later(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(Run(0), Run(1), signal=0.3, max_epochs=60, patience=4)
    while not trainer.done:
        trainer.run_epoch()
    trainer.restore_best()
    val = trainer.parts["val"]
    for run, logits in enumerate(trainer.outputs("val")):
        loss = torch.nn.functional.cross_entropy(logits, val.labels[run]).item()
        assert loss == pytest.approx(trainer.stopping.best_loss[run], rel=1e-6)
        assert trainer.stopping.waited(run) == 4


def test_a_stopped_run_leaves_the_model_and_the_others_do_not_notice(
    make_trainer: MakeTrainer,
) -> None:
    runs = [Run(seed) for seed in range(4)]
    packed = make_trainer(*runs, signal=0.3, max_epochs=60, patience=3)
    sizes = []
    while not packed.done:
        packed.run_epoch()
        sizes.append(len(packed.model.bias))
    assert len(set(sizes)) > 1
    for index, run in enumerate(runs):
        alone = make_trainer(run, signal=0.3, max_epochs=60, patience=3)
        while not alone.done:
            alone.run_epoch()
        assert alone.stopping.epochs == [packed.stopping.epochs[index]]
        for name, value in alone.best.items():
            torch.testing.assert_close(packed.best[name][index], value[0], rtol=1e-4, atol=1e-4)
