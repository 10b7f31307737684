from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.bench.conftest import Bench

from wsa import Setting
from wsa.bench import gates
from wsa.bench.config import BenchConfig
from wsa.bench.plan import Contest, make_plan
from wsa.errors import WsaError

Install = Callable[..., None]
QUICK = ("--adapters", 3, "--seconds", 0.01)


@pytest.fixture
def base(stranger: Install, bench: Bench, tmp_path: Path) -> Path:
    stranger()
    assert bench("doubling", *QUICK, "--json", tmp_path / "base.json") == 0
    return tmp_path / "base.json"


def with_times(path: Path, backend: str, factor: float) -> None:
    """Tell other times of one contender, or of all."""
    document = json.loads(path.read_bytes())
    for each in document["benchmarks"]:
        if backend in (each["extra_info"]["backend"], "all"):
            for statistic in each["extra_info"]["own"]:
                each["extra_info"]["own"][statistic] *= factor
    path.write_text(json.dumps(document))


def rows(**times: tuple[float, float, float]) -> dict[str, Any]:
    names = ("median", "p20", "least")
    own = {backend: dict(zip(names, each, strict=True)) for backend, each in times.items()}
    return {name: {"gated": name == "mine", "own": each} for name, each in own.items()}


def slower(before: dict[str, Any], now: dict[str, Any]) -> float:
    change = gates.change_of("doubling", "mine", before, now)
    assert change is not None
    return round(change.slower, 6)


def test_the_least_change_counts_whatever_the_statistic_and_the_yardstick() -> None:
    before = rows(mine=(4, 2, 1), loop=(40, 20, 10), eager=(8, 4, 2))
    assert slower(before, rows(mine=(8, 4, 2), loop=(40, 20, 10), eager=(8, 4, 2))) == 100
    # the median alone is noise, and so is what one yardstick does not show
    assert slower(before, rows(mine=(8, 2.2, 2), loop=(40, 20, 10), eager=(8, 4, 2))) == 10
    assert slower(before, rows(mine=(8, 4, 2), loop=(40, 20, 10), eager=(12, 6, 3))) == 33.333333
    assert slower(before, rows(mine=(5, 1.5, 1), loop=(40, 20, 10), eager=(8, 4, 2))) == 0
    assert slower(before, rows(mine=(2, 1, 0.9), loop=(40, 20, 10), eager=(8, 4, 2))) == -10


def test_the_ways_to_do_without_us_are_not_held_against_each_other(
    base: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with_times(base, "loop", 1e-3)
    assert bench("doubling", *QUICK, "--compare", base, "--fail-if", "slower>10%") == 0
    out = capsys.readouterr().out
    assert "N3] quick: " in out
    assert "N3] loop: " not in out


def test_a_case_says_itself_who_is_gated(
    stranger: Install, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger(more="gated=('wrong',),")
    bench("doubling", *QUICK, "--json", tmp_path / "base.json")
    assert bench("doubling", *QUICK, "--compare", tmp_path / "base.json") == 0
    out = capsys.readouterr().out
    assert "N3] wrong: " in out
    assert "N3] quick: " not in out


def test_where_nobody_else_ran_the_machine_is_the_yardstick(
    stranger: Install, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger()
    alone = ("doubling", *QUICK, "--backend", "quick")
    bench(*alone, "--json", tmp_path / "base.json")
    assert bench(*alone, "--compare", tmp_path / "base.json", "--fail-if", "slower>900%") == 0
    assert re.search("against (copy|product)", capsys.readouterr().out)
    with_times(tmp_path / "base.json", "quick", 1e-3)
    assert bench(*alone, "--compare", tmp_path / "base.json", "--fail-if", "slower>900%") == 1


def test_a_contender_that_became_slower_is_named_and_fails(
    base: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with_times(base, "quick", 1e-3)
    assert bench("doubling", *QUICK, "--compare", base, "--fail-if", "slower>10%") == 1
    assert "SLOWER doubling[factors r1 fp32 N3] quick" in capsys.readouterr().out


def test_one_that_became_faster_does_not(base: Path, bench: Bench) -> None:
    for backend in ("quick", "eager", "wrong"):
        with_times(base, backend, 1e3)
    assert bench("doubling", *QUICK, "--compare", base, "--fail-if", "slower>10%") == 0


def test_a_machine_that_is_slower_as_a_whole_does_not(base: Path, bench: Bench) -> None:
    with_times(base, "all", 1e-3)
    assert bench("doubling", *QUICK, "--compare", base, "--fail-if", "slower>900%") == 0


def test_without_a_rule_a_comparison_only_tells(
    base: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with_times(base, "quick", 1e-3)
    assert bench("doubling", *QUICK, "--compare", base) == 0
    assert "quick: " in capsys.readouterr().out


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


def test_a_target_is_judged_only_where_both_its_sides_will_run(
    stranger: Install,
) -> None:
    stranger()
    (contest,) = make_plan(BenchConfig(("doubling",)), "cpu").contests
    case = contest.case
    assert gates.can_judge(Contest(case, Setting(3), ("quick", "loop")))
    assert not gates.can_judge(Contest(case, Setting(3), ("quick", "eager")))
    assert not gates.can_judge(Contest(case, Setting(3, dtype="fp16"), ("quick", "loop")))


def test_a_target_for_many_adapters_is_judged_where_there_are_so_many(stranger: Install) -> None:
    stranger()
    (contest,) = make_plan(BenchConfig(("doubling",)), "cpu").contests
    case = replace(contest.case, targets=(replace(contest.case.targets[0], adapters=4),))
    assert not gates.can_judge(Contest(case, Setting(3), ("quick", "loop")))
    assert gates.can_judge(Contest(case, Setting(4), ("quick", "loop")))


def test_a_target_of_some_ranks_is_judged_at_those(stranger: Install) -> None:
    stranger(more="ranks=(1, 2)")
    (first, second) = make_plan(BenchConfig(("doubling",)), "cpu").contests
    target = replace(first.case.targets[0], ranks=(2,))
    case = replace(first.case, targets=(target,))
    assert not gates.can_judge(replace(first, case=case))
    assert gates.can_judge(replace(second, case=case))
