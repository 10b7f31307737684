from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.train.accelerators import stand_in
from torch import Tensor

from wsa.train import Outcome, Run, Split, TrainConfig, train
from wsa.train.feed import Feed, Stream
from wsa.train.parts import Part, arrange

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
SmallConfig = Callable[..., TrainConfig]
PartOf = Callable[..., Part]

SIZES = [10, 10, 9, 9, 10]
RUNS = [Run(0), Run(1), Run(0, shuffled=True)]
COLUMNS = [[0, 1, 2], [5], [3, 4, 6, 7, 8, 9]]


@pytest.fixture
def part_of(planted: Planted, plain_split: PlainSplit) -> PartOf:
    def make(columns: list[list[int]] | None) -> Part:
        return arrange(*planted(), plain_split(80), RUNS, columns)[1]["train"]

    return make


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some columns"])
@pytest.mark.parametrize("kind", [Feed, Stream])
@pytest.mark.parametrize("held", [[0, 1, 2], [0, 2]])
def test_steps_are_fed_the_adapters_of_an_order_batch_by_batch(
    part_of: PartOf, kind: type[Feed], columns: list[list[int]] | None, held: list[int]
) -> None:
    part = part_of(columns)
    feed = kind(part, max(SIZES))
    feed.hold(held)
    for epoch in range(2):
        source = torch.Generator().manual_seed(epoch)
        orders = torch.stack([torch.randperm(48, generator=source) for _ in held])
        feed.begin(orders)
        for rows in torch.split(orders, SIZES, dim=1):
            feed.ready(rows.shape[1])
            values, labels = feed.take(rows.shape[1])
            for place, run in enumerate(held):
                mine = part.features[rows[place]]
                if part.columns is not None:
                    mine = mine[:, part.columns[run]]
                assert torch.equal(values[place], mine)
                assert torch.equal(labels[place], part.labels[run, rows[place]])


def test_a_step_reads_no_memory_that_moves(part_of: PartOf) -> None:
    feed = Feed(part_of(None), max(SIZES))
    feed.hold([0, 1, 2])
    before = [each.data_ptr() for each in (feed.orders, feed.position, feed.labels)]
    feed.begin(torch.arange(48).expand(3, 48))
    feed.take(10)
    feed.begin(torch.arange(48).flip(0).expand(3, 48))
    assert [each.data_ptr() for each in (feed.orders, feed.position, feed.labels)] == before


@pytest.mark.parametrize("device", ["the host's own", "a stand-in"])
@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some columns"])
def test_streamed_features_train_to_the_same_bytes(
    planted: Planted,
    plain_split: PlainSplit,
    small_config: SmallConfig,
    monkeypatch: pytest.MonkeyPatch,
    columns: list[list[int]] | None,
    device: str,
) -> None:
    def learn(stream: bool | None) -> Outcome:
        config = small_config(stream=stream, patience=3, max_epochs=20)
        return train(*planted(signal=0.3), plain_split(80), RUNS, 4, config, columns=columns)

    if device == "a stand-in":
        stand_in(monkeypatch)
        monkeypatch.setattr("wsa.train.sitting.Job.__post_init__", _as_asked)
    usual, streamed = learn(None), learn(True)
    assert streamed.runs == usual.runs
    assert all(torch.equal(streamed.weights[name], usual.weights[name]) for name in usual.weights)
    assert "stream" not in usual.conditions
    assert streamed.conditions == usual.conditions | {"stream": True}
    assert "features on the host, batches streamed" in streamed.warnings[0]


def _as_asked(job: object) -> None:
    vars(job)["stream"] = bool(vars(job)["config"].stream)
