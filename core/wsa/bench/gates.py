"""Gates: ratios within one run, held against another run's or against a target, never times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsa.bench.report import Report, Row
from wsa.case import COPY, Case, Target
from wsa.errors import WsaError

YARDSTICKS = ("loop", "eager", "reference")
RULE = re.compile(r"slower>(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Change:
    """A contender's time over its yardstick's in the same run, then and now.

    Of the median and the fastest fifth, the one that changed less: what only one of them shows is
    within the spread.
    """

    name: str
    yardstick: str
    before: float
    now: float

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
    """Compare the contenders two runs have in common, each by its ratio to one yardstick."""
    old, found = _contests(before.rows), []
    for contest, rows in _contests(now.rows).items():
        known = old.get(contest, {})
        common = [name for name in YARDSTICKS if name in rows and name in known]
        yardstick = common[0] if common else COPY
        for backend in [name for name in rows if name in known and name != yardstick]:
            then, here = (_ratios(each, backend, yardstick) for each in (known, rows))
            pairs = zip(then, here, strict=True)
            both = [Change(f"{contest} {backend}", yardstick, *pair) for pair in pairs]
            found.append(min(both, key=lambda change: abs(change.slower)))
    return found


def verdicts(cases: Iterable[Case], report: Report) -> list[Verdict]:
    """Judge every target that this run measured both sides of."""
    targets = {case.name: case.targets for case in cases}
    found = []
    for contest, rows in _contests(report.rows).items():
        first = next(iter(rows.values()))
        for target in targets.get(first["case"], ()):
            if all(first[name] == getattr(target, name) for name in ("device", "view", "dtype")):
                found += _judged(contest, target, rows)
    return found


def _judged(contest: str, target: Target, rows: dict[str, Row]) -> list[Verdict]:
    ours = [name for name in target.of if name in rows]
    if not ours or (target.over != COPY and target.over not in rows):
        return []
    reached = 1 / min(_ratios(rows, name, target.over)[0] for name in ours)
    return [Verdict(contest, target, reached)]


def _ratios(rows: dict[str, Row], backend: str, yardstick: str) -> tuple[float, float]:
    """Return a contender's median and p20 over the yardstick's, or over a copy of its bytes."""
    row = rows[backend]
    if yardstick == COPY:
        copied = row["share_of_copy"] * row["median"]
        return row["median"] / copied, row["p20"] / copied
    other = rows[yardstick]
    return row["median"] / other["median"], row["p20"] / other["p20"]


def _contests(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["contest"], {})[row["backend"]] = row
    return found
