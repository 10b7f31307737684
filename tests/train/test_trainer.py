from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.train.accelerators import StandIn, stand_in
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wsa.generators import generator
from wsa.train import Goal, Run, Split, TrainConfig, accelerator
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


def run_to_the_end(trainer: Trainer) -> Trainer:
    while not trainer.done:
        trainer.run_epoch()
    return trainer


def same_bytes(one: Trainer, other: Trainer) -> bool:
    return all(torch.equal(one.best[name], other.best[name]) for name in other.best)


# 48 training adapters: two sizes of batches, 10 and 9, or one
@pytest.mark.parametrize("batch", [10, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_steps_that_were_recorded_train_to_the_same_bytes(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, batch: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("wsa.train.trainer.precision", lambda amp, device: dtype)
    knobs = {"signal": 0.3, "batch_size": batch, "patience": 8}
    plain = run_to_the_end(make_trainer(Run(0), Run(1), **knobs))
    cuda = stand_in(monkeypatch)
    recorded = run_to_the_end(make_trainer(Run(0), Run(1), **knobs))
    assert same_bytes(recorded, plain)
    assert recorded.conditions() == plain.conditions() | {"graph": True}
    assert cuda.told.count("replay") == 8 * len(recorded.sizes)
    assert len(cuda.graphs) == len(set(recorded.sizes))
    assert recorded.step.warnings == []


def test_a_training_without_a_graph_can_be_asked_for(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = stand_in(monkeypatch)
    trainer = run_to_the_end(make_trainer(Run(0), graph=False))
    assert trainer.conditions()["graph"] is False
    assert cuda.graphs == []


def test_a_device_that_records_nothing_is_told_of_once_and_trained_on_all_the_same(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run_to_the_end(make_trainer(Run(0), Run(1)))
    stand_in(monkeypatch)

    def refuse(*_: object) -> None:
        raise RuntimeError("not permitted when stream is capturing")

    monkeypatch.setattr(accelerator, "capture", refuse)
    trainer = run_to_the_end(make_trainer(Run(0), Run(1)))
    (warning,) = trainer.step.warnings
    assert warning == (
        "no CUDA graph, trained step by step: RuntimeError: not permitted when stream is capturing"
    )
    assert trainer.conditions()["graph"] is False
    assert same_bytes(trainer, plain)


def test_a_graph_is_recorded_anew_once_half_of_its_runs_have_stopped(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda: StandIn = stand_in(monkeypatch)
    runs = [Run(seed) for seed in range(4)]
    trainer = make_trainer(*runs, signal=0.3, max_epochs=60, patience=3)
    held = []
    while not trainer.done:
        trainer.run_epoch()
        held.append((len(trainer.held), len(trainer.stopping.active)))
    assert all(active == 0 or 2 * active > size or active == size for size, active in held)
    sizes = [size for size, _ in held]
    assert len(set(sizes)) > 1
    assert len(cuda.graphs) == len({size for size, active in held if active})


def test_a_step_on_trial_changes_nothing(make_trainer: MakeTrainer) -> None:
    trial, plain = make_trainer(Run(0), Run(1)), make_trainer(Run(0), Run(1))
    for _ in range(2):
        assert trial.step_seconds() > 0
        for trainer in (trial, plain):
            trainer.run_epoch()
    found, wanted = trial.step.state(), plain.step.state()
    assert all(torch.equal(found["model"][name], each) for name, each in wanted["model"].items())
    for index, moments in wanted["optimiser"]["state"].items():
        mine = found["optimiser"]["state"][index]
        assert all(torch.equal(mine[name], each) for name, each in moments.items())


def test_a_failed_run_leaves_at_once_where_gradients_are_scaled(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    trainer = make_trainer(Run(0), Run(1), Run(2))
    trainer.stopping.failed[1] = 1
    trainer.stopping.active = [0, 2]
    trainer._release()
    assert trainer.held == [0, 1, 2]
    trainer.step.scaler = torch.amp.GradScaler("cpu", enabled=True)
    trainer._release()
    assert trainer.held == [0, 2]


@pytest.mark.parametrize("supported", [True, False])
def test_half_precision_scales_gradients_where_its_exponents_are_short(
    supported: bool,
) -> None:
    config = TrainConfig(hidden_dim=8)
    dtype = torch.bfloat16 if supported else torch.float16
    step = Step(PackedModel([0], 5, 3, 8), config, dtype, False, Goal())
    assert step.scaler.is_enabled() is not supported
