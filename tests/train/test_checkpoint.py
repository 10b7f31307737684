from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.accelerators import stand_in
from torch import Tensor

from wsa.storage import unseal
from wsa.train import REGRESSION, Goal, Outcome, Run, Split, TrainConfig, compiling, train
from wsa.train.conditions import conditions
from wsa.train.trainer import Trainer

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
Job = Callable[..., Outcome]

RUNS = (Run(0), Run(1), Run(2), Run(0, shuffled=True))


class Killed(Exception):
    pass


@pytest.fixture
def job(
    planted: Planted, plain_split: PlainSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Job:
    """Train four runs that stop at different epochs, killed after `kill` of them if given."""
    # A checkpoint an epoch: 12 ms of waiting for the disk each, which is not what is tested.
    monkeypatch.setattr("os.fsync", lambda handle: None)
    features, labels = planted(signal=0.3)
    config = TrainConfig(
        hidden_dim=16, batch_size=16, patience=4, max_epochs=30, checkpoint_seconds=0
    )

    def run(
        kill: int | None = None,
        path: Path | None = tmp_path / "task.checkpoint",
        config: TrainConfig = config,
        features: Tensor = features,
        runs: tuple[Run, ...] = RUNS,
    ) -> Outcome:
        def on_epoch(epoch: int, last: int) -> None:
            if epoch == kill:
                raise Killed

        return train(features, labels, plain_split(80), runs, 4, config, path, on_epoch)

    return run


def bytes_of(outcome: Outcome) -> tuple[str, list[bytes]]:
    arrays = [value.numpy().tobytes() for value in outcome.weights.values()]
    arrays += [value.tobytes() for value in outcome.probabilities.values()]
    return repr(outcome.to_json()), arrays


def test_runs_stop_at_different_epochs_in_these_tests(job: Job) -> None:
    epochs = {run["epochs"] for run in job(path=None).runs}
    assert len(epochs) > 2
    assert max(epochs) > 12


# twenty points or more, drawn once and for all; no run here is shorter than 13 epochs
POINTS = [random.Random(seed).sample(range(1, 13), 1 + seed % 3) for seed in range(11)]


@pytest.mark.parametrize("kills", [sorted(points) for points in POINTS], ids=str)
def test_a_killed_training_ends_in_the_same_bytes(job: Job, kills: list[int]) -> None:
    whole = bytes_of(job(path=None))
    for kill in kills:
        with pytest.raises(Killed):
            job(kill)
    assert bytes_of(job()) == whole


def test_at_least_twenty_points_are_killed_at() -> None:
    assert sum(len(points) for points in POINTS) >= 20


def test_a_killed_regression_of_unequal_columns_ends_in_the_same_bytes(
    planted: Planted, plain_split: PlainSplit, tmp_path: Path
) -> None:
    features, _ = planted()
    labels = (features[:, 0] + features[:, 3]).double()
    config = TrainConfig(hidden_dim=16, batch_size=16, max_epochs=9, checkpoint_seconds=0)
    path, columns = tmp_path / "task.checkpoint", [[0, 1], [3], [0, 3, 4, 5]]

    def run(kill: int) -> Outcome:
        def on_epoch(epoch: int, last: int) -> None:
            if epoch == kill:
                raise Killed

        given = (features, labels, plain_split(80), RUNS[:3], Goal(REGRESSION, 1), config)
        return train(*given, path if kill else None, on_epoch, columns)

    whole = bytes_of(run(0))
    for kill in (2, 5):
        with pytest.raises(Killed):
            run(kill)
    assert bytes_of(run(99)) == whole


def test_a_killed_training_of_which_seeds_failed_ends_in_the_same_bytes(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Trainer._losses

    def lost(trainer: Trainer) -> dict[int, float]:
        bad = {2: float("nan")} | ({0: float("nan")} if trainer.epoch >= 3 else {})
        return {run: bad.get(run, loss) for run, loss in losses(trainer).items()}

    monkeypatch.setattr(Trainer, "_losses", lost)
    whole = job(path=None)
    assert [run["failed_epoch"] for run in whole.runs] == [3, None, 1, None]
    with pytest.raises(Killed):
        job(5)
    assert bytes_of(job()) == bytes_of(whole)


def test_a_killed_half_precision_training_ends_in_the_same_bytes(job: Job) -> None:
    config = TrainConfig(
        hidden_dim=16, batch_size=16, patience=4, max_epochs=12, checkpoint_seconds=0, amp=True
    )
    whole = bytes_of(job(path=None, config=config))
    with pytest.raises(Killed):
        job(6, config=config)
    assert bytes_of(job(config=config)) == whole


def test_a_resumed_training_starts_after_its_last_checkpoint(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Killed):
        job(5)
    taken: list[int] = []
    run_epoch = Trainer.run_epoch

    def counted(trainer: Trainer) -> None:
        run_epoch(trainer)
        taken.append(trainer.epoch)

    monkeypatch.setattr(Trainer, "run_epoch", counted)
    outcome = job()
    assert taken == list(range(6, max(run["epochs"] for run in outcome.runs) + 1))


def test_checkpoints_are_no_more_frequent_than_asked(job: Job, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        job(5, config=TrainConfig(hidden_dim=16, batch_size=16, checkpoint_seconds=1000))
    assert list(tmp_path.iterdir()) == []


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def truncate(path: Path, byte: int) -> None:
    path.write_bytes(path.read_bytes()[:byte])


@pytest.mark.parametrize("damage", [flip, truncate])
@pytest.mark.parametrize("byte", [0, 15, 16, 400, -100])
def test_a_damaged_checkpoint_is_discarded_in_one_line(
    job: Job,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path, int], None],
    byte: int,
) -> None:
    whole = bytes_of(job(path=None))
    with pytest.raises(Killed):
        job(3)
    damage(tmp_path / "task.checkpoint", byte)
    assert bytes_of(job()) == whole
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "is damaged; it is discarded and the training starts anew" in lines[0]


CHANGES: dict[str, dict[str, Any]] = {
    "learning rate": {"config": TrainConfig(hidden_dim=16, batch_size=16, learning_rate=0.01)},
    "dropout": {"config": TrainConfig(hidden_dim=16, batch_size=16, dropout=0.4, max_epochs=5)},
    "runs": {"runs": RUNS[:2]},
    "features": {"features": torch.randn(80, 12, generator=torch.Generator().manual_seed(1))},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_checkpoint_of_another_job_is_discarded_in_one_line(
    job: Job, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    with pytest.raises(Killed):
        job(3)
    found = bytes_of(job(**CHANGES[change]))
    assert "belongs to another job" in capsys.readouterr().err
    assert found == bytes_of(job(path=None, **CHANGES[change]))


@pytest.mark.parametrize("field", ["torch", "device", "threads", "amp", "compile", "graph"])
def test_a_changed_condition_is_told_once_and_stays_in_the_result(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    with pytest.raises(Killed):
        job(3)
    monkeypatch.setattr(
        "wsa.train.trainer.conditions", lambda *found: conditions(*found) | {field: "other"}
    )
    with pytest.raises(Killed):
        job(4)
    assert f"under other conditions ({field}: " in capsys.readouterr().err
    outcome = job()
    assert not outcome.exact_resume
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kills", [[1], [4, 5]], ids=str)
def test_a_killed_training_of_recorded_steps_ends_in_the_same_bytes(
    job: Job, monkeypatch: pytest.MonkeyPatch, kills: list[int]
) -> None:
    stand_in(monkeypatch)
    whole = bytes_of(job(path=None))
    for kill in kills:
        with pytest.raises(Killed):
            job(kill)
    assert bytes_of(job()) == whole


@pytest.mark.parametrize("amp", [None, True])
def test_a_killed_training_with_columns_that_pad_ends_in_the_same_bytes(
    job: Job, monkeypatch: pytest.MonkeyPatch, amp: bool | None
) -> None:
    # what a compiled step pads and keeps, without the compiler: the soak test has that
    monkeypatch.setattr(compiling.forms, "call", compiling.packed_loss)
    config = TrainConfig(
        hidden_dim=16, batch_size=16, patience=4, max_epochs=12, checkpoint_seconds=0, compile=True
    )
    config = replace(config, amp=amp)
    whole = job(path=None, config=config)
    assert whole.conditions["padded_columns"] == 16
    for kill in (1, 6):
        with pytest.raises(Killed):
            job(kill, config=config)
    assert bytes_of(job(config=config)) == bytes_of(whole)


@pytest.mark.parametrize("graph", [False, True])
def test_a_killed_training_with_scaled_gradients_ends_in_the_same_bytes(
    job: Job, monkeypatch: pytest.MonkeyPatch, graph: bool
) -> None:
    monkeypatch.setattr("wsa.train.trainer.precision", lambda amp, device: torch.float16)
    if graph:
        stand_in(monkeypatch)
    whole = bytes_of(job(path=None))
    for kill in (1, 5):
        with pytest.raises(Killed):
            job(kill)
    assert "'amp': 'float16'" in whole[0]
    assert bytes_of(job()) == whole


def test_a_graph_is_a_condition_and_not_another_job(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stand_in(patched)
        with pytest.raises(Killed):
            job(3)
    assert not job().exact_resume
    assert "under other conditions (graph: True -> None)" in capsys.readouterr().err


def test_precision_is_a_condition_and_not_another_job(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrainConfig(hidden_dim=16, batch_size=16, max_epochs=6, checkpoint_seconds=0)
    with pytest.raises(Killed):
        job(3, config=config)
    outcome = job(config=replace(config, amp=True))
    assert "(amp: None -> bfloat16)" in capsys.readouterr().err
    assert not outcome.exact_resume
    assert outcome.runs[0]["epochs"] == 6


def test_a_checkpoint_holds_nothing_that_runs(job: Job, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        job(3)
    payload = unseal((tmp_path / "task.checkpoint").read_bytes())
    assert payload is not None
    content = torch.load(io.BytesIO(payload), weights_only=True)
    assert content["state"]["trainer"]["epoch"] == 3
