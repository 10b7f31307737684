from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bench.conftest import Bench

from wsa.bench import gates
from wsa.errors import WsaError

Install = Callable[..., None]
QUICK = ("--adapters", 3, "--seconds", 0.01)


@pytest.fixture
def base(stranger: Install, bench: Bench, tmp_path: Path) -> Path:
    stranger()
    assert bench("doubling", *QUICK, "--json", tmp_path / "base.json") == 0
    return tmp_path / "base.json"


def with_median(path: Path, backend: str, factor: float) -> None:
    """Tell another time of one contender, and of its share of the copy."""
    document = json.loads(path.read_bytes())
    for each in document["benchmarks"]:
        if backend in (each["extra_info"]["backend"], "all"):
            each["extra_info"]["share_of_copy"] /= factor
            for statistic in ("median", "p20"):
                each["extra_info"][statistic] *= factor
    path.write_text(json.dumps(document))


def test_a_contender_that_became_slower_is_named_and_fails(
    base: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with_median(base, "quick", 1e-3)
    assert bench("doubling", *QUICK, "--compare", base, "--fail-if", "slower>10%") == 1
    assert "SLOWER doubling[factors r1 fp32 N3] quick" in capsys.readouterr().out


def test_one_that_became_faster_does_not(base: Path, bench: Bench) -> None:
    for backend in ("quick", "eager", "wrong"):
        with_median(base, backend, 1e3)
    assert bench("doubling", *QUICK, "--compare", base, "--fail-if", "slower>10%") == 0


def test_a_machine_that_is_slower_as_a_whole_does_not(base: Path, bench: Bench) -> None:
    with_median(base, "all", 1e-3)
    assert bench("doubling", *QUICK, "--compare", base, "--fail-if", "slower>900%") == 0


def test_without_a_rule_a_comparison_only_tells(
    base: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with_median(base, "quick", 1e-3)
    assert bench("doubling", *QUICK, "--compare", base) == 0
    assert "quick: " in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{}", '{"schema": "wsa bench 1"}'])
def test_what_another_program_wrote_is_refused(
    text: str, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text(text)
    assert bench("moments", "--compare", tmp_path / "other.json") == 2
    assert "needs a file written by wsa bench --json" in capsys.readouterr().err


@pytest.mark.parametrize("rule", ["slower", "slower>10", "faster>10%", "slower>-1%"])
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(WsaError, match="needs a rule such as 'slower>10%'"):
        gates.parse_rule(rule)


@pytest.mark.parametrize(("times", "code", "word"), [(0.001, 0, "reached"), (1e9, 1, "MISSED")])
def test_check_holds_the_run_to_the_targets_beside_the_case(
    stranger: Install,
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    times: float,
    code: int,
    word: str,
) -> None:
    stranger(times=times)
    assert bench("doubling", *QUICK, "--check") == code
    assert f"{word}: doubling[factors r1 fp32 N3] is" in capsys.readouterr().out


def test_a_check_that_judges_nothing_is_a_mistake(stranger: Install, bench: Bench) -> None:
    stranger()
    assert bench("doubling", "--backend", "eager", *QUICK, "--check") == 2
