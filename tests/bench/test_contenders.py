from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tests.bench.conftest import Bench

from wsa import Case, Setting
from wsa.bench.agreement import greatest_error
from wsa_bench import e2e, populations, wsa_bench_cases
from wsa_kernels.operation import Operation

CASES = {case.name: case for case in wsa_bench_cases()}
COMPARED = [case for case in CASES.values() if not case.on_request]
OTHERS = [
    (case, view, name)
    for case in COMPARED
    for view in ("factors", "delta")
    for name in case.contenders
    if view in case.views or case.name.startswith("representations/")
    if name not in ("triton", "compiled", "weightwatcher")
]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shapes that fall between the groups and bands of the features."""
    monkeypatch.setattr(populations, "WIDTHS", (40, 67))
    monkeypatch.setattr(populations, "NARROW", (40,))
    monkeypatch.setattr(populations, "TEXT_WIDTH", 51)
    e2e.material.cache_clear()
    yield
    e2e.material.cache_clear()


def setting_of(case: Case, view: str) -> Setting:
    rank = max(case.ranks) if case.ranks else 0
    return Setting(3, rank if case.ranks != (1,) else 2, view)


@pytest.mark.parametrize(
    ("case", "view", "name"),
    OTHERS,
    ids=lambda part: part.name if isinstance(part, Case) else str(part),
)
def test_every_contender_agrees_with_the_truth(case: Case, view: str, name: str) -> None:
    given = case.inputs(setting_of(case, view))
    # of 40 entries one on the other side of an edge is a twentieth of a share
    tolerance = {each: max(0.0, allowed) for each, allowed in case.tolerance.items()}
    assert greatest_error(case.contenders[name](given), case.reference(given), tolerance) >= 0


@pytest.mark.parametrize("case", COMPARED, ids=lambda case: str(case.name))
def test_the_truth_is_float64_and_computed_by_nothing_that_it_judges(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ours(*_: object) -> None:
        raise AssertionError("the truth came from an operation of ours")

    given = case.inputs(setting_of(case, case.views[0]))
    monkeypatch.setattr(Operation, "form", ours)
    truth = case.reference(given)
    assert {values.dtype for values in truth.values()} <= {torch.float64, torch.int64}


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_contenders_agree_on_half_precision_weights(dtype: str) -> None:
    case = CASES["moments"]
    given = case.inputs(replace(setting_of(case, "delta"), dtype=dtype))
    for name in ("reference", "eager", "loop"):
        greatest_error(case.contenders[name](given), case.reference(given), case.tolerance)


def test_a_part_of_the_inputs_has_the_answers_of_those_adapters() -> None:
    for case in (CASES["spectrum"], CASES["representations/stats"]):
        given = case.inputs(setting_of(case, "factors"))
        assert case.part is not None
        some, whole = case.reference(case.part(given, [2, 0])), case.reference(given)
        assert all((some[name] == whole[name][[2, 0]]).all() for name in whole)


def test_the_flagship_has_the_published_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    given = populations.flagship(Setting(1))
    assert (given.count, given.layout.parameters) == (128, 99_648)


def test_the_ensemble_and_all_nine_have_their_columns() -> None:
    case = CASES["representations/all"]
    found = case.reference(case.inputs(setting_of(case, "factors")))
    columns = {name: values[0, 0].numel() for name, values in found.items()}
    assert sum(size for name, size in columns.items() if name.startswith("ensemble.")) == 115
    assert sum(columns.values()) == 5 + 7 + 15 + 40 + 15 + 31 + 24 + 5 + 115


def test_the_stages_of_a_run_are_timed_and_summed_up(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e2e, "EPOCHS", 2)
    assert bench("e2e", "--adapters", 20, "--seconds", 0.001) == 0
    out = capsys.readouterr().out
    for stage in ("read", "moments", "fourier", "cache_write", "concat", "train"):
        assert f"e2e/{stage}" in out
    assert "e2e: 12 stages in" in out
