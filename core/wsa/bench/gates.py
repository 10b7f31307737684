"""Gates: ratios within one run, held against another run's or against a target, never times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from wsa.bench.plan import Contest
from wsa.bench.report import STATISTICS, Report, Row
from wsa.case import COPY, PRODUCT, Case, Target
from wsa.errors import WsaError

Rows = Mapping[str, Row]  # of one contest, by backend
# Who is measured against where nobody else ran.
MACHINE = (COPY, PRODUCT)
RULE = re.compile(r"slower>(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Change:
    """A contender's time over a yardstick's in the same run, then and now."""

    contest: str
    backend: str
    yardstick: str
    before: float
    now: float

    @property
    def name(self) -> str:
        """Return whom this is about, as files and messages call him."""
        return f"{self.contest} {self.backend}"

    @property
    def slower(self) -> float:
        """Return by how much slower it became, in per cent; below 0: faster."""
        return 100 * (self.now / self.before - 1)

    def told(self) -> str:
        """Say it in one line."""
        word = "slower" if self.slower > 0 else "faster"
        return (
            f"{self.name}: {abs(self.slower):.1f}% {word} against {self.yardstick} "
            f"({self.before:.3g} -> {self.now:.3g} of its time)"
        )


@dataclass(frozen=True)
class Verdict:
    """A target and what this run has to say of it."""

    contest: str
    target: Target
    reached: float

    @property
    def holds(self) -> bool:
        """Tell whether the target is reached."""
        return self.reached >= self.target.times

    def told(self) -> str:
        """Say it in one line."""
        state = "reached" if self.holds else "MISSED"
        return (
            f"{state}: {self.contest} is {self.reached:.3g}x {self.target.over}, "
            f"target {self.target.times:g}x"
        )


def parse_rule(text: str) -> float:
    """Return the per cent of `slower>10%`; raises WsaError for any other rule."""
    found = RULE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise WsaError(f"--fail-if needs a rule such as 'slower>10%'; got {text!r}")
    return float(found[1])


def changes(before: Report, now: Report) -> list[Change]:
    """Compare the gated contenders that two runs have in common."""
    old = contests(before)
    return [
        change
        for contest, rows in contests(now).items()
        for backend in rows
        if (change := change_of(contest, backend, old.get(contest, {}), rows))
    ]


def change_of(contest: str, backend: str, before: Rows, now: Rows) -> Change | None:
    """Compare a contender with every yardstick by every statistic; None where there is nothing.

    The least change counts: one that a yardstick or a statistic does not show is not this
    contender's.
    """
    if backend not in before or not now[backend]["gated"]:
        return None
    found = []
    for name, each in product(yardsticks(before, now), STATISTICS):
        then, here = (_ratio(rows, backend, name, each) for rows in (before, now))
        found.append(Change(contest, backend, name, then, here))
    none_slower = [change for change in found if change.slower <= 0]
    return min(none_slower or found, key=lambda change: abs(change.slower), default=None)


def yardsticks(before: Rows, now: Rows) -> list[str]:
    """Return what two runs both measured against: who is not gated, or else the machine itself."""
    common = [name for name in now if name in before and not now[name]["gated"]]
    return [name for name in common if name not in MACHINE] or common


def contests(report: Report) -> dict[str, dict[str, Row]]:
    """Return the rows of each contest by backend, the machine's copy and product among them."""
    found: dict[str, dict[str, Row]] = {}
    for row in report.rows:
        found.setdefault(row["contest"], {})[row["backend"]] = row
    rates = report.document["rates"]
    for rows in found.values():
        size = next(iter(rows.values()))["bytes"]
        rows[PRODUCT] = of_machine(1e9 / rates["best_product"], 1e9 / rates["product"])
        if size:
            rows[COPY] = of_machine(size / rates["best_copy"], size / rates["copy"])
    return found


def of_machine(own: float, median: float) -> Row:
    """Return what a gate reads of the machine's copy, or of so many of its operations."""
    return {"gated": False, "median": median, "own": dict.fromkeys(STATISTICS, own)}


def verdicts(cases: Iterable[Case], report: Report) -> list[Verdict]:
    """Judge every target that this run measured both sides of."""
    known = {case.name: case for case in cases}
    found = []
    for contest, rows in contests(report).items():
        first = next(iter(rows.values()))
        for target in _targets(known.get(first["case"]), first):
            found += _judged(contest, target, rows)
    return found


def can_judge(contest: Contest) -> bool:
    """Tell whether a contest that is yet to run has a target, and both its sides."""
    given = vars(contest.setting)
    there = {*contest.backends, COPY}
    targets = _targets(contest.case, given)
    return any(target.over in there and there & set(target.of) for target in targets)


def _targets(case: Case | None, given: Mapping[str, Any]) -> list[Target]:
    targets = case.targets if case else ()
    asked = ("device", "view", "dtype")
    alike = [each for each in targets if all(given[name] == getattr(each, name) for name in asked)]
    ranked = [each for each in alike if not each.ranks or given["rank"] in each.ranks]
    return [each for each in ranked if int(given["adapters"]) >= each.adapters]


def _judged(contest: str, target: Target, rows: Rows) -> list[Verdict]:
    ours = [rows[name]["median"] for name in target.of if name in rows]
    if not ours or target.over not in rows:
        return []
    return [Verdict(contest, target, rows[target.over]["median"] / min(ours))]


def _ratio(rows: Rows, backend: str, yardstick: str, statistic: str) -> float:
    return float(rows[backend]["own"][statistic] / rows[yardstick]["own"][statistic])
