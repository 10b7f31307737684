from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wsa.train import Outcome, Run, Split, TrainConfig, train
from wsa.train.parts import arrange
from wsa.train.trainer import Trainer

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
Learn = Callable[..., Outcome]

CUDA = torch.device("cuda")
RUNS = (Run(0), Run(1), Run(2), Run(0, shuffled=True))
COLUMNS = [[0, 1, 2], [5], [3, 4, 6, 7, 8, 9], [1, 2]]
# 48 training adapters in batches of 10 and 9: two graphs
KNOBS: dict[str, Any] = {"hidden_dim": 16, "batch_size": 10, "patience": 4, "max_epochs": 20}


@pytest.fixture
def learn(planted: Planted, plain_split: PlainSplit, monkeypatch: pytest.MonkeyPatch) -> Learn:
    def run(
        path: Path | None = None,
        kill: int | None = None,
        half: torch.dtype | None = None,
        columns: list[list[int]] | None = None,
        **knobs: Any,
    ) -> Outcome:
        def on_epoch(epoch: int, last: int) -> None:
            if epoch == kill:
                raise KeyboardInterrupt

        brain = half is torch.bfloat16
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: brain)
        config = TrainConfig(**KNOBS | {"checkpoint_seconds": 0, "amp": half is not None} | knobs)
        given = (*planted(signal=0.3), plain_split(80), RUNS, 4, config, path, on_epoch, columns)
        return train(*given, device=CUDA)

    # as a run has it; without CUBLAS_WORKSPACE_CONFIG torch would refuse every product
    torch.use_deterministic_algorithms(False)
    return run


def close(one: Outcome, other: Outcome, tolerance: float) -> None:
    for name, each in one.weights.items():
        torch.testing.assert_close(other.weights[name], each, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some columns"])
def test_a_recorded_training_is_the_plain_one(
    learn: Learn, half: torch.dtype | None, columns: list[list[int]] | None
) -> None:
    plain, recorded = (
        learn(half=half, columns=columns, compile=False, graph=each, max_epochs=3, patience=3)
        for each in (False, None)
    )
    assert recorded.warnings == []
    assert recorded.conditions["graph"] is True
    assert recorded.conditions["amp"] == (str(half).removeprefix("torch.") if half else None)
    close(plain, recorded, 1e-5)


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("stream", [None, True])
def test_a_killed_training_ends_in_the_same_bytes(
    learn: Learn, tmp_path: Path, half: torch.dtype | None, stream: bool | None
) -> None:
    knobs: dict[str, Any] = {"half": half, "stream": stream, "compile": False}
    whole, path = learn(**knobs), tmp_path / "task.pt"
    for kill in (1, 6):
        with pytest.raises(KeyboardInterrupt):
            learn(path, kill, **knobs)
    found = learn(path, **knobs)
    assert found.to_json() == whole.to_json()
    assert all(torch.equal(found.weights[name], each) for name, each in whole.weights.items())


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some columns"])
def test_streamed_features_train_as_resident_ones(
    learn: Learn, columns: list[list[int]] | None
) -> None:
    knobs: dict[str, Any] = {"columns": columns, "compile": False, "max_epochs": 3, "patience": 3}
    close(learn(**knobs), learn(stream=True, **knobs), 1e-4)


def test_a_compiled_training_is_recorded_too(learn: Learn) -> None:
    knobs: dict[str, Any] = {"max_epochs": 2, "patience": 2}
    plain, compiled = (learn(compile=each, **knobs) for each in (False, True))
    assert compiled.warnings == []
    assert (compiled.conditions["graph"], compiled.conditions["compile"]) == (True, True)
    assert compiled.measured["compile_seconds"] > 0
    close(plain, compiled, 1e-3)


def test_steps_are_timed_before_anybody_compiles(learn: Learn) -> None:
    found = learn(max_epochs=1)
    assert found.measured["step_seconds"] > 0
    assert found.conditions["compile"] is False


def test_no_step_waits_for_the_device(planted: Planted, plain_split: PlainSplit) -> None:
    features, labels = (each.to(CUDA) for each in planted())
    trainer = Trainer(arrange(features, labels, plain_split(80), RUNS)[1], RUNS, 4, TrainConfig())
    strides = trainer._strides()
    trainer.feed.begin(trainer._orders())
    torch.cuda.set_sync_debug_mode("error")
    try:
        for size in trainer.sizes:
            strides[size]()
    finally:
        torch.cuda.set_sync_debug_mode("default")
