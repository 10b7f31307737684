from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wsa.train import Outcome, Run, Split, TrainConfig, lanes, train
from wsa.train.parts import Part

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]
Learn = Callable[..., Outcome]

RUNS = [Run(0), Run(1), Run(2), Run(0, shuffled=True), Run(4)]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Set the number of threads, with lanes worth their while at any size."""
    monkeypatch.setattr(lanes, "WORTH_LANES", 0)
    setting = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(setting)


@pytest.fixture
def learn(
    planted: Planted,
    plain_split: PlainSplit,
    small_config: SmallConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> Learn:
    monkeypatch.setattr("os.fsync", lambda handle: None)

    def run(**changes: Any) -> Outcome:
        features, labels = planted(signal=0.3)
        config = small_config(patience=3, max_epochs=20, checkpoint_seconds=0)
        return train(features, labels, plain_split(80), RUNS, 4, config, **changes)

    return run


@pytest.mark.parametrize(
    ("cores", "shares"),
    [
        (1, [[0, 1, 2, 3]]),
        (2, [[0, 2], [1, 3]]),
        (3, [[0, 3], [1], [2]]),
        (9, [[0], [1], [2], [3]]),
    ],
)
def test_runs_are_dealt_to_as_many_lanes_as_cores(
    threads: Callable[[int], None], cores: int, shares: list[list[int]]
) -> None:
    parts = {"train": Part(torch.zeros(8, 3), torch.zeros(4, 8, dtype=torch.int64))}
    threads(cores)
    assert lanes.deal(4, parts, TrainConfig()) == shares
    assert lanes.deal(4, parts, TrainConfig(compile=True)) == [[0, 1, 2, 3]]


def test_small_networks_stay_in_one_lane() -> None:
    parts = {"train": Part(torch.zeros(64, 64), torch.zeros(4, 64, dtype=torch.int64))}
    assert lanes.deal(4, parts, TrainConfig(hidden_dim=64)) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("cores", [2, 3])
def test_lanes_give_what_one_lane_gives(
    threads: Callable[[int], None], learn: Learn, cores: int
) -> None:
    threads(1)
    one = learn()
    threads(cores)
    many = learn()
    for name, value in one.weights.items():
        torch.testing.assert_close(many.weights[name], value, rtol=1e-4, atol=1e-4)
    for before, after in zip(one.runs, many.runs, strict=True):
        assert before["best_epoch"] == after["best_epoch"]
        assert before["test"]["nll"] == pytest.approx(after["test"]["nll"], rel=1e-3)


def test_the_number_of_threads_and_the_threads_are_left_as_they_were(
    threads: Callable[[int], None], learn: Learn
) -> None:
    threads(2)
    before = threading.active_count()
    learn()
    assert torch.get_num_threads() == 2
    assert threading.active_count() == before
    found: list[int] = []
    newcomer = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    newcomer.start()
    newcomer.join()
    assert found == [2]


@pytest.mark.parametrize("kill", [1, 6])
@pytest.mark.parametrize("later", [1, 2, 3])
def test_lanes_killed_and_resumed_on_any_number_of_cores_end_in_the_same_bytes(
    threads: Callable[[int], None], learn: Learn, tmp_path: Path, kill: int, later: int
) -> None:
    def stop(epoch: int, last: int) -> None:
        if epoch == kill:
            raise KeyboardInterrupt

    threads(2)
    whole = learn()
    with pytest.raises(KeyboardInterrupt):
        learn(checkpoint=tmp_path / "task", on_epoch=stop)
    threads(later)
    resumed = learn(checkpoint=tmp_path / "task")
    assert resumed.exact_resume == (later == 2)
    assert all(torch.equal(resumed.weights[name], whole.weights[name]) for name in whole.weights)
