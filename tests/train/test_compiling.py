from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wsa.errors import differences
from wsa.train import Outcome, Run, Split, TrainConfig, train
from wsa.train.conditions import open_to_compiling, precision

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
