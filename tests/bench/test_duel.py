from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bench.conftest import Bench

from wsa.bench import duel
from wsa.bench.clock import Clock

Install = Callable[..., None]
QUICK = ("--adapters", 3, "--seconds", 0.01)
RULE = ("--fail-if", "slower>50%")
# a contender that loops over so many doublings, of which one is needed
BURDEN = '{"twice": [2 * x for _ in range(TIMES_DONE)][-1]}'


@pytest.fixture
def base(stranger: Install, bench: Bench, tmp_path: Path) -> Path:
    stranger(wrong=BURDEN.replace("TIMES_DONE", "10"))
    assert bench("doubling", *QUICK, "--json", tmp_path / "base.json") == 0
    return tmp_path / "base.json"


def test_the_same_code_passes_though_it_was_slower_while_it_was_timed(
    base: Path, stranger: Install, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    # slow for as long as the first run takes: ten calls to judge it and time it, and no more
    stranger(wrong=BURDEN.replace("TIMES_DONE", '10 if called.count("wrong") > 5 else 300'))
    assert bench("doubling", *QUICK, "--seconds", 1e-4, "--compare", base, *RULE) == 0
    told = capsys.readouterr()
    assert (
        "timed again by turns with its yardsticks: doubling[factors r1 fp32 N3] wrong" in told.err
    )
    assert "SLOWER" not in told.out


# never as long as the base's text: Python would take its bytecode for this one's
@pytest.mark.parametrize("burden", ["3 * 10", "0 or __import__('time').sleep(2e-4) or 10"])
def test_a_contender_that_was_made_slower_fails_however_often_it_is_timed(
    base: Path, stranger: Install, bench: Bench, capsys: pytest.CaptureFixture[str], burden: str
) -> None:
    stranger(wrong=BURDEN.replace("TIMES_DONE", burden))
    assert bench("doubling", *QUICK, "--compare", base, *RULE) == 1
    told = capsys.readouterr()
    assert "SLOWER doubling[factors r1 fp32 N3] wrong: " in told.out
    assert told.out.count("SLOWER") == 1


def test_a_suspect_that_fails_when_it_is_called_again_is_named(
    base: Path, stranger: Install, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger(wrong=BURDEN.replace("TIMES_DONE", '300 if called.count("wrong") < 6 else undefined'))
    assert bench("doubling", *QUICK, "--seconds", 1e-4, "--compare", base, *RULE) == 1
    assert "N3] wrong, timed again: NameError" in capsys.readouterr().err


def test_turns_alternate_and_a_short_call_is_made_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds, called = [0.0], []

    def take(name: str, amount: float) -> Callable[[], None]:
        def call() -> None:
            called.append(name)
            seconds[0] += amount

        return call

    monkeypatch.setattr(duel, "TURNS", 2)
    calls = {"short": take("s", 0.4 * duel.TURN_SECONDS), "long": take("l", 1.0)}
    found = duel.by_turns(calls, Clock(lambda: seconds[0]))
    assert "".join(called) == "sl" + "sssl" * 2
    assert found["long"] == pytest.approx([1.0, 1.0])
    assert len(found["short"]) == 6


def test_a_yardstick_that_takes_long_stays_away_unless_there_is_no_other() -> None:
    def row(median: float, timed: int = 4) -> dict[str, object]:
        return {"gated": False, "median": median, "adapters": 4, "adapters_timed": timed}

    def willing(**rows: dict[str, object]) -> list[str]:
        return duel._willing(rows, rows)

    assert willing(eager=row(9.0), loop=row(2.0, 1)) == ["loop"]
    assert willing(eager=row(0.9), loop=row(2.0, 1)) == ["loop", "eager"]
    assert willing(eager=row(9.0), loop=row(80.0, 1)) == ["eager"]
