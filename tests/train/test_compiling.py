from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wsa.errors import differences
from wsa.train import (
    CLASSES,
    REGRESSION,
    Goal,
    Outcome,
    Run,
    Split,
    TrainConfig,
    compiling,
    sitting,
    train,
)
from wsa.train.compiling import Forms, Worth, bucket, packed_loss
from wsa.train.conditions import open_to_compiling, precision
from wsa.train.packed import FIRST
from wsa.train.parts import arrange
from wsa.train.trainer import Trainer

Planted = Callable[..., tuple[Tensor, Tensor]]
PlainSplit = Callable[..., Split]
Compile = Callable[..., Outcome]

# torch itself imports torch.jit when it compiles, and says that it should not.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch")


@pytest.fixture
def learn(planted: Planted, plain_split: PlainSplit) -> Compile:
    def run(compile: bool) -> Outcome:
        config = TrainConfig(hidden_dim=8, batch_size=16, max_epochs=6, patience=2, compile=compile)
        return train(*planted(signal=0.3), plain_split(80), [Run(0), Run(1)], 4, config)

    return run


def test_without_a_compiler_training_goes_on_with_one_warning(
    learn: Compile,
) -> None:
    import torch._inductor.config as inductor

    torch._dynamo.reset()
    broken = {"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}
    with inductor.patch(broken):
        outcome, eager = learn(compile=True), learn(compile=False)
    assert len(outcome.warnings) == 1
    assert "No working C++ compiler found" in outcome.warnings[0]
    assert outcome.conditions["compile"] is False
    assert outcome.runs == eager.runs


@pytest.mark.slow
def test_a_compiled_step_trains_as_an_eager_one(learn: Compile) -> None:
    torch._dynamo.reset()
    compiled, eager = learn(compile=True), learn(compile=False)
    assert compiled.warnings == []
    assert compiled.conditions["compile"] is True
    assert compiled.warnings == []
    for name, value in eager.weights.items():
        torch.testing.assert_close(compiled.weights[name], value, rtol=1e-3, atol=1e-3)


def test_a_measurement_decides_on_compiling_on_cuda_only_and_unless_it_was_asked_for() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert open_to_compiling(None, cuda)
    assert not any(open_to_compiling(wish, cuda) for wish in (True, False))
    assert not any(open_to_compiling(wish, cpu) for wish in (None, True, False))


def test_precision_is_full_on_the_cpu_and_half_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert precision(None, cpu) == precision(False, cuda) == torch.float32
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda answer=supported, **_: answer)
        assert precision(None, cuda) == dtype


def test_changed_conditions_are_named() -> None:
    before = {"threads": 1, "compile": False, "torch": "2.11.0"}
    now = {"threads": 2, "compile": False, "torch": "2.13.0"}
    assert differences(before, now) == ["threads: 1 -> 2", "torch: 2.11.0 -> 2.13.0"]
    assert differences(now, now) == []


def test_widths_fall_into_few_buckets_that_grow_by_a_quarter_at_most() -> None:
    buckets = [bucket(width) for width in range(1, 20001)]
    assert buckets == sorted(buckets)
    assert all(width <= found for width, found in enumerate(buckets, 1))
    assert all(found % 8 == 0 and found == bucket(found) for found in buckets)
    assert all(found <= max(8, 1.25 * width + 8) for width, found in enumerate(buckets, 1))
    known = sorted(set(buckets))
    assert all(after / before <= 1.25 for before, after in pairwise(known[3:]))
    assert len([each for each in known if 128 <= each < 4096]) == 4 * 5


COLUMNS = [[0, 1, 2], [5], [3, 4, 6, 7, 8, 9]]


@pytest.mark.parametrize("columns", [None, COLUMNS], ids=["all", "some columns"])
def test_columns_that_pad_change_nothing_but_rounding_and_stay_zero(
    planted: Planted,
    plain_split: PlainSplit,
    monkeypatch: pytest.MonkeyPatch,
    columns: list[list[int]] | None,
) -> None:
    monkeypatch.setattr(compiling.forms, "call", packed_loss)
    runs = [Run(0), Run(1), Run(0, shuffled=True)]
    parts = arrange(*planted(columns=11), plain_split(80), runs, columns)[1]
    width = max(parts["train"].widths(3))
    plain, padded = (
        Trainer(parts, runs, 4, TrainConfig(hidden_dim=8, batch_size=16, compile=each))
        for each in (False, True)
    )
    assert padded.model.columns == padded.conditions()["padded_columns"] == bucket(width) > width
    begun = padded.weights()
    assert all(torch.equal(each, begun[name]) for name, each in plain.weights().items())
    for _ in range(3):
        plain.run_epoch()
        padded.run_epoch()
    assert not padded.model.state()[FIRST][:, width:].any()
    found = padded.weights()
    for name, each in plain.weights().items():
        torch.testing.assert_close(found[name], each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("back", [False, True])
def test_a_training_may_go_on_with_other_columns_that_pad(
    planted: Planted, plain_split: PlainSplit, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    monkeypatch.setattr(compiling.forms, "call", packed_loss)
    runs = [Run(0), Run(1)]
    parts = arrange(*planted(columns=11), plain_split(80), runs)[1]
    first, second = (
        Trainer(parts, runs, 4, TrainConfig(hidden_dim=8, batch_size=16, compile=each))
        for each in (back, not back)
    )
    first.run_epoch()
    second.restore(deepcopy(first.state()))  # as if read from a disk
    for trainer in (first, second):
        trainer.run_epoch()
    found = second.weights()
    for name, each in first.weights().items():
        torch.testing.assert_close(found[name], each, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [CLASSES, REGRESSION])
def test_ten_widths_and_labels_take_two_compilations(
    planted: Planted, plain_split: PlainSplit, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # what dynamo takes apart is counted; what the C++ compiler makes of it takes 10 s each
    monkeypatch.setattr(
        compiling, "one_form", lambda call: torch.compile(call, backend="eager", dynamic=False)
    )
    forms = Forms()
    monkeypatch.setattr("wsa.train.step.forms", forms)
    torch._dynamo.reset()
    config = TrainConfig(hidden_dim=8, batch_size=16, max_epochs=2, compile=True)
    counted = torch._dynamo.utils.counters["stats"]
    before, widths = counted["unique_graphs"], range(29, 39)
    for width in widths:
        features, labels = planted(columns=width)
        if kind == REGRESSION:
            labels = features[:, 0].double() * width
        goal = Goal(kind, 4)
        outcome = train(features, labels, plain_split(80), [Run(0), Run(1)], goal, config)
        assert outcome.conditions["compile"] is True
        assert outcome.conditions.get("padded_columns", width) in (32, 40)
    assert {bucket(width) for width in widths} == {32, 40}
    assert counted["unique_graphs"] - before == 2
    assert len(forms.known) == 2


def test_compiling_pays_where_steps_gain_more_than_it_takes() -> None:
    worth = Worth(compile_seconds=40.0, gain=0.2)
    assert worth.pays(step_seconds=0.01, steps=20_001)
    assert not worth.pays(step_seconds=0.01, steps=19_999)
    worth.learn(compile_seconds=10.0, plain=0.01, compiled=0.005)
    assert (worth.compile_seconds, worth.gain) == (10.0, 0.5)
    worth.learn(compile_seconds=10.0, plain=0.01, compiled=0.02)
    assert not worth.pays(step_seconds=0.01, steps=10**9)


@pytest.mark.parametrize("pays", [True, False])
def test_a_measurement_decides_and_is_told_beside_the_results(
    planted: Planted, plain_split: PlainSplit, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    monkeypatch.setattr(
        compiling, "one_form", lambda call: torch.compile(call, backend="eager", dynamic=False)
    )
    forms = Forms()
    monkeypatch.setattr("wsa.train.step.forms", forms)
    monkeypatch.setattr("wsa.train.sitting.forms", forms)
    worth = Worth(compile_seconds=0.0 if pays else 1e9)
    monkeypatch.setattr(sitting, "worth", worth)
    config = TrainConfig(hidden_dim=8, batch_size=16, max_epochs=2)
    given = (*planted(), plain_split(80), [Run(0), Run(1)], 4, config)
    usual = train(*given)
    assert usual.measured == {}
    monkeypatch.setattr(sitting, "open_to_compiling", lambda wish, device: wish is None)
    found = train(*given)
    assert found.conditions["compile"] is pays
    assert found.measured["step_seconds"] > 0
    assert found.measured.keys() == {"step_seconds"} | (
        {"compiled_step_seconds", "compile_seconds"} if pays else set()
    )
    assert (worth.gain != Worth.gain) is pays
    if not pays:
        assert found.runs == usual.runs
        assert all(torch.equal(found.weights[name], each) for name, each in usual.weights.items())


def test_a_sitting_keeps_to_what_the_last_one_decided(
    planted: Planted, plain_split: PlainSplit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiling.forms, "call", packed_loss)
    monkeypatch.setattr(sitting, "open_to_compiling", lambda wish, device: wish is None)
    config = TrainConfig(hidden_dim=8, batch_size=16, max_epochs=4, checkpoint_seconds=0)

    def run(compile_seconds: float, kill: int = 0) -> Outcome:
        def on_epoch(epoch: int, last: int) -> None:
            if epoch == kill:
                raise KeyboardInterrupt

        monkeypatch.setattr(sitting, "worth", Worth(compile_seconds))
        path = tmp_path / "task.pt"
        given = (*planted(), plain_split(80), [Run(0), Run(1)], 4, config)
        return train(*given, path, on_epoch)

    with pytest.raises(KeyboardInterrupt):
        run(compile_seconds=-1.0, kill=2)
    outcome = run(compile_seconds=1e9)
    assert outcome.conditions["compile"] is True
    assert outcome.exact_resume
