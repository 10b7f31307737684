"""Entry: one contender at one setting, judged first and only then handed to the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from wsa.bench.agreement import Disagreement, greatest_error, refuse_hollow
from wsa.bench.clock import Clock
from wsa.bench.fingerprint import fingerprint
from wsa.bench.launches import Seen, watched
from wsa.bench.plan import Contest
from wsa.case import YARDSTICKS, Answer, Contender
from wsa.errors import need

# The truth, in float64, is computed for so many adapters, spread over all of them.
SAMPLE = 16
LEAST_ROUNDS, MOST_ROUNDS = 3, 200
# What others are measured against needs a steadier median than what is measured.
LEAST_OF_YARDSTICK = 7
# A call of so many seconds is steady by itself, and seven of a training one by one are minutes.
LONG = 3.0
# What an adapter more costs is told by this many against one; a slow contender gets two at least.
FEW, LEAST_ADAPTERS = 4, 2


@dataclass(frozen=True)
class Entry:
    """A contender that will be timed, unless it disagrees with the truth."""

    contest: Contest
    backend: str

    @property
    def name(self) -> str:
        """Return the entry as it is called in files and messages."""
        return f"{self.contest.name} {self.backend}"

    @property
    def gated(self) -> bool:
        """Tell whether `--fail-if` judges it; the others are what it is measured against."""
        gated = self.contest.case.gated
        return self.backend in gated if gated else self.backend not in YARDSTICKS


class Ground:
    """What the contenders of one contest stand on: equal inputs and one truth."""

    def __init__(self, contest: Contest) -> None:
        self.contest, self.case = contest, contest.case
        self.inputs = contest.case.inputs(contest.setting)
        self.fingerprint = fingerprint(self.inputs)
        # before any contender is called: one that writes to its inputs must not make the truth
        self.truth = self.case.reference(self.of(self.rows))
        refuse_hollow(self.truth)
        if self.changed:
            raise Disagreement("the reference changes its inputs")

    @property
    def changed(self) -> bool:
        """Tell whether somebody wrote to the inputs."""
        return fingerprint(self.inputs) != self.fingerprint

    @cached_property
    def rows(self) -> list[int]:
        """Return the adapters that are held to the truth: a sample, the first and last in it."""
        count = self.contest.setting.adapters
        if self.case.part is None or count <= SAMPLE:
            return list(range(count))
        return [i * (count - 1) // (SAMPLE - 1) for i in range(SAMPLE)]

    def of(self, rows: list[int]) -> Any:
        """Return the inputs with some adapters only."""
        if self.case.part is None:
            return self.inputs
        return self.case.part(self.inputs, rows)

    def facts(self) -> dict[str, Any]:
        """Say what the inputs are, and what must be read of them and computed at least."""
        case = self.case
        amounts = {"bytes": float(case.bytes(self.inputs)), "flops": float(case.flops(self.inputs))}
        for name, amount in amounts.items():
            need(0 <= amount < float("inf"), f"{case.name}: {name}", "0 or more", amount)
        return {"shape": str(case.shape(self.inputs)), **amounts}


@dataclass(frozen=True)
class Judged:
    """A contender that agrees with the truth: what to time, how often, and what is known."""

    call: Callable[[], Answer]
    adapters: int  # that one call works on
    rounds: int
    facts: dict[str, Any]  # for the record
    hold: Callable[[Any], float]  # an answer to the truth; returns its greatest error


class LeftOut(Exception):
    """A contender that would measure nothing of its own."""


def judge(entry: Entry, ground: Ground, clock: Clock, seconds: float) -> Judged:
    """Run a contender and hold it to the truth; raises Disagreement, or whatever it raises.

    Raises LeftOut for a contender `compiled` in which torch compiles nothing.
    """
    contender, setting = entry.contest.case.contenders[entry.backend], entry.contest.setting
    few = _few(entry, ground, clock)
    inputs = ground.inputs if few is None else ground.of(ground.rows[:few])
    hold = _holder(ground, inputs, few)

    def call() -> Answer:
        return contender(inputs)

    first = _first(clock, call)
    seen, second = _watched(entry.contest, contender, inputs, clock)
    error = hold(seen.result)
    if entry.backend == "compiled" and not seen.compiled:
        raise LeftOut("has nothing that torch compiles")
    # the first call may have compiled, the second was watched
    rounds = _rounds(entry, seconds, max(min(first, second), 1e-9))
    told = {name: float(seen.result[name]) for name in entry.contest.case.told}
    facts = {"first_seconds": first, "launches": seen.launches, "max_error": error, "told": told}
    return Judged(call, few or setting.adapters, rounds, facts | ground.facts(), hold)


def _rounds(entry: Entry, seconds: float, taken: float) -> int:
    least = LEAST_ROUNDS if entry.gated or taken > LONG else LEAST_OF_YARDSTICK
    return min(MOST_ROUNDS, max(least, round(seconds / taken)))


def _watched(
    contest: Contest, contender: Contender, inputs: Any, clock: Clock
) -> tuple[Seen[Answer], float]:
    """Return a call's answer, its time, and what it launched, or did on less of the inputs."""
    device, brief = contest.setting.device, contest.case.brief
    if brief is None:
        return _timed(clock, lambda: watched(lambda: contender(inputs), device))
    answer, taken = _timed(clock, lambda: contender(inputs))
    return replace(watched(lambda: contender(brief(inputs)), device), result=answer), taken


def _holder(ground: Ground, inputs: Any, few: int | None) -> Callable[[Any], float]:
    """Return what holds an answer to the truth, and its finder to inputs left as they were."""
    before = ground.fingerprint if few is None else fingerprint(inputs)

    def hold(answer: Any) -> float:
        if fingerprint(inputs) != before or (few is not None and ground.changed):
            raise Disagreement("it changed its inputs")
        return _error(ground, answer, few)

    return hold


def _first(clock: Clock, call: Callable[[], Any]) -> float:
    """Time the first call, and leave NaN where its answer lay.

    A contender that writes nothing would else find the right answer in fresh memory.
    """
    answer, taken = _timed(clock, call)
    found = answer.values() if isinstance(answer, Mapping) else ()
    tensors = [each for each in found if isinstance(each, Tensor) and each.is_floating_point()]
    kinds = [(each.shape, each.dtype, each.device) for each in tensors]
    del answer, found, tensors
    _ = [torch.full(shape, torch.nan, dtype=dtype, device=on) for shape, dtype, on in kinds]
    return taken


def _timed(clock: Clock, call: Callable[[], Any]) -> tuple[Any, float]:
    answers: list[Any] = []
    taken = clock.seconds(lambda: answers.append(call()))
    return answers[0], taken


def _few(entry: Entry, ground: Ground, clock: Clock) -> int | None:
    """Return how many adapters a slow contender works on; None where it takes them all."""
    case, count = entry.contest.case, entry.contest.setting.adapters
    longest = case.scaled.get(entry.backend)
    if longest is None or case.part is None or count == 1:
        return None

    def taken(adapters: int) -> float:
        given = ground.of(ground.rows[:adapters])
        return min(clock.seconds(lambda: case.contenders[entry.backend](given)) for _ in range(2))

    few = min(FEW, len(ground.rows))
    one = taken(1)
    # a batched contender hardly takes longer for another adapter, a loop as long again
    each = max(0.0, (taken(few) - one) / (few - 1))
    if one + each * (count - 1) <= longest:
        return None
    return min(len(ground.rows), max(LEAST_ADAPTERS, int(longest / max(each, 1e-9))))


def _error(ground: Ground, answer: Any, few: int | None) -> float:
    if few is not None:
        truth = {name: values[:few] for name, values in ground.truth.items()}
        return greatest_error(answer, truth, ground.case.tolerance)
    count = ground.contest.setting.adapters
    if len(ground.rows) < count and hasattr(answer, "items"):
        sampled = {name: values[ground.rows] for name, values in answer.items()}
        return greatest_error(sampled, ground.truth, ground.case.tolerance)
    return greatest_error(answer, ground.truth, ground.case.tolerance)
