"""Preparation: every mistake that can be found before anything is timed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from wsa.bench.config import BenchConfig
from wsa.bench.gates import can_judge, contests
from wsa.bench.plan import Contest, make_plan
from wsa.bench.report import Report
from wsa.errors import EnvironmentProblem, WsaError, differences
from wsa.experiment.preparation import choose_device
from wsa.progress import say


def refuse_lost(json: Path | None, plot: Path | None, compare: Path | None) -> None:
    """Refuse now, not after minutes of timing, what could not be written then."""
    for option, path in (("--json", json), ("--plot", plot)):
        if path is not None:
            _refuse_unwritable(option, path, is_file=option == "--plot" or path.suffix == ".json")
    if plot is not None:
        _refuse_undrawn(plot)
    if json is not None and compare is not None and json.resolve() == compare.resolve():
        raise WsaError(f"--json would overwrite {compare}, which --compare reads; name another")


def _refuse_unwritable(option: str, path: Path, is_file: bool) -> None:
    if not path.parent.is_dir():
        raise WsaError(f"{option} needed a directory that exists; {path.parent} does not")
    if path.exists() and path.is_dir() == is_file:
        needed, found = ("a file", "a directory") if is_file else ("a directory", "a file")
        raise WsaError(f"{option} needed {needed}; {path} is {found}")
    written = path.parent if is_file or not path.exists() else path
    if not os.access(written, os.W_OK | os.X_OK):
        raise EnvironmentProblem(f"{option} cannot write {path}: no permission in {written}")


def _refuse_undrawn(plot: Path) -> None:
    if plot.suffix != ".svg":
        raise WsaError(f"--plot draws SVG and needs a name that ends in .svg; got {plot}")
    if importlib.util.find_spec("matplotlib") is None:
        raise WsaError("--plot needs matplotlib, which is not installed: pip install 'wsa[plot]'")


def refuse_vain(config: BenchConfig, before: Report | None, check: bool) -> None:
    """Refuse a comparison or a check that would judge nobody."""
    device = choose_device(config.device).type
    planned = make_plan(config, device).contests
    if before is not None:
        _refuse_nothing_common(planned, before)
    if check and not any(can_judge(contest) for contest in planned):
        raise WsaError("--check: no case chosen here has a target; name others, or leave it out")


def _refuse_nothing_common(planned: list[Contest], before: Report) -> None:
    known = contests(before)
    common = [each for each in planned if {*each.backends} & known.get(each.name, {}).keys()]
    if not common:
        found = ", ".join(list(known)[:3]) or "nothing"
        raise WsaError(f"--compare: no contender here is in that file; it has {found}, ...")


def tell_other_machine(before: Report, now: Report) -> None:
    """Say where the two runs were not made on one machine: even ratios differ between two."""
    there, here = (each.document["machine_info"] for each in (before, now))
    for line in differences(there, here):
        say(f"--compare: another machine or version: {line}")
