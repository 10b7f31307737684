"""Duel: who seems slower than in an earlier run is timed again, by turns with the yardsticks."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping

from wsa.bench.clock import Clock, clock_of, threads
from wsa.bench.config import BenchConfig
from wsa.bench.entry import Ground
from wsa.bench.gates import (
    MACHINE,
    Change,
    Rows,
    change_of,
    changes,
    contests,
    of_machine,
    yardsticks,
)
from wsa.bench.machine import COPY_BYTES, copier, multiplier, product_flops
from wsa.bench.plan import Contest, make_plan
from wsa.bench.preparation import tell_other_machine
from wsa.bench.report import Report, Row, summary
from wsa.case import COPY, PRODUCT
from wsa.errors import PluginFailure, cause
from wsa.progress import say

# Whoever is not slower in one of so many duels is not slower: noise does not come three times.
DUELS = 3
# In a duel so many turns each; a turn is one call, or as many as fit in so many seconds.
TURNS, TURN_SECONDS, MOST_CALLS = 7, 0.02, 20
# A yardstick whose call takes longer stays away, unless there is no other.
LONGEST_CALL = 1.0

Calls = Mapping[str, Callable[[], object]]


def compared(before: Report, now: Report, config: BenchConfig, allowed: float) -> list[Change]:
    """Compare two runs; whoever is slower than allowed is still so after every duel."""
    tell_other_machine(before, now)
    found = changes(before, now)
    suspects = {change.name: change for change in found if change.slower > allowed}
    settled = dict(_settled(before, now, config, allowed, list(suspects.values())))
    return [settled.get(change.name, change) for change in found]


def _settled(
    before: Report, now: Report, config: BenchConfig, allowed: float, suspects: list[Change]
) -> Iterable[tuple[str, Change]]:
    if not suspects:
        return
    planned, ground = _planned(config, now), None
    with threads(config.threads), contextlib.redirect_stdout(sys.stderr):
        for suspect in suspects:
            say(f"timed again by turns with its yardsticks: {suspect.name}")
            contest = planned[suspect.contest]
            if ground is None or ground.contest is not contest:
                ground = Ground(contest)
            known = (contests(before)[contest.name], contests(now)[contest.name])
            yield suspect.name, _fought(suspect, ground, *known, allowed)


def _planned(config: BenchConfig, now: Report) -> dict[str, Contest]:
    plan = make_plan(config, now.document["machine_info"]["kind"])
    return {contest.name: contest for contest in plan.contests}


def _fought(suspect: Change, ground: Ground, before: Rows, now: Rows, allowed: float) -> Change:
    contest, clock = ground.contest, clock_of(ground.contest.setting.device)
    try:
        names = [suspect.backend, *_willing(before, now)]
        calls = {name: _call(name, ground, now) for name in names}
        for _ in range(DUELS):
            again = _rows(now, by_turns(calls, clock), contest)
            change = change_of(contest.name, suspect.backend, before, again)
            if change is None or change.slower <= allowed:
                break
    except Exception as problem:  # a contender that fails when it is called again
        raise PluginFailure(f"{suspect.name}, timed again: {cause(problem)}") from problem
    return change or suspect


def _willing(before: Rows, now: Rows) -> list[str]:
    """Return the yardsticks that answer soon enough, the quickest in any case."""

    def taken(name: str) -> float:
        if name in MACHINE:
            return 0.0
        return float(now[name]["median"] * now[name]["adapters_timed"] / now[name]["adapters"])

    ordered = sorted(yardsticks(before, now), key=taken)
    return [name for name in ordered if taken(name) <= LONGEST_CALL] or ordered[:1]


def _call(name: str, ground: Ground, now: Rows) -> Callable[[], object]:
    if name in MACHINE:
        make = copier if name == COPY else multiplier
        return make(ground.contest.setting.device)
    contender, timed = ground.case.contenders[name], now[name]["adapters_timed"]
    whole = timed == now[name]["adapters"]
    inputs = ground.inputs if whole else ground.of(ground.rows[:timed])
    return lambda: contender(inputs)


def by_turns(calls: Calls, clock: Clock) -> dict[str, list[float]]:
    """Return the seconds of each call, made by turns: what slows the machine slows them all."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        clock.seconds(call)
    for _ in range(TURNS):
        for name, call in calls.items():
            found[name] += _turn(call, clock)
    return found


def _turn(call: Callable[[], object], clock: Clock) -> list[float]:
    taken: list[float] = []
    while not taken or (sum(taken) < TURN_SECONDS and len(taken) < MOST_CALLS):
        wall = clock.seconds(call)
        own = clock.last_own()
        taken.append(wall if own is None else own)
    return taken


def _rows(now: Rows, found: dict[str, list[float]], contest: Contest) -> Rows:
    """Return the rows of those who fought, with the times of the duel told for all adapters."""
    size = next(iter(now.values()))["bytes"]

    device = contest.setting.device
    shares = {COPY: size / COPY_BYTES[device], PRODUCT: 1e9 / product_flops(device)}

    def row(name: str, seconds: list[float]) -> Row:
        if name in MACHINE:
            least = shares[name] * min(seconds)
            return of_machine(least, least)
        scale = now[name]["adapters"] / now[name]["adapters_timed"]
        return now[name] | {"own": summary([scale * each for each in seconds])}

    return {name: row(name, seconds) for name, seconds in found.items()}
