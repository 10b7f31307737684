"""Plan: cases x settings x contenders, from every plugin that offers cases."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from wsa import registry
from wsa.bench.config import BenchConfig
from wsa.case import Case, Setting
from wsa.errors import EnvironmentProblem, PluginFailure, WsaError, unknown

USUAL_ADAPTERS = 64


# compared by identity: a case holds functions and tables
@dataclass(frozen=True, eq=False)
class Contest:
    """One case at one setting: all who contend there get equal inputs."""

    case: Case
    setting: Setting
    backends: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the contest as it is called in tables, files and messages."""
        setting = self.setting
        rank = [f"r{setting.rank}"] if setting.rank else []
        words = [setting.view, *rank, setting.dtype, f"N{setting.adapters}"]
        return f"{self.case.name}[{' '.join(words)}]"


@dataclass(frozen=True)
class Plan:
    """What will be run, who failed before that, and who was left out for want of something."""

    contests: list[Contest]
    failures: dict[str, str]
    left_out: dict[str, str]  # why, by `case backend`


def load_cases() -> tuple[dict[str, Case], dict[str, str]]:
    """Return every case by name, and the plugins that failed: the others go on without them."""
    cases: dict[str, Case] = {}
    failures: dict[str, str] = {}
    for plugin in registry.installed(registry.BENCH_GROUP):
        try:
            offered = {case.name: case for case in registry.load_cases(plugin)}
        except PluginFailure as problem:
            failures[plugin.name] = str(problem)
            continue
        twice = sorted(offered.keys() & cases.keys())
        if twice:
            failures[plugin.name] = (
                f"plugin {plugin.name!r} offers case {twice[0]!r}, which another offers already"
            )
        else:
            cases |= offered
    return cases, failures


def hidden() -> str:
    """Say which plugins of cases WSA_PLUGINS leaves out, and how to have them; "" where none."""
    allowed, every = registry.allow_list(), registry.everything(registry.BENCH_GROUP)
    if allowed is None or all(plugin.name in allowed for plugin in every):
        return ""
    left_out = [plugin for plugin in every if plugin.name not in allowed]
    told = ", ".join(f"{plugin.name} ({plugin.distribution})" for plugin in left_out)
    wanted = ",".join(sorted({*allowed, *(plugin.name for plugin in left_out)}))
    return (
        f"{registry.ALLOWED} leaves out the bench plugins {told}; with "
        f"{registry.ALLOWED}={wanted} their cases are there"
    )


def make_plan(config: BenchConfig, device: str) -> Plan:
    """Choose cases and cross them with settings; raises WsaError for a name nobody offers."""
    cases, failures = load_cases()
    chosen = _chosen(config.names, cases)
    known = dict.fromkeys(name for case in chosen for name in (*case.contenders, *case.needs))
    for backend in config.backends:
        if backend not in known:
            raise unknown("backend", backend, known)
    left_out: dict[str, str] = {}
    contests = []
    for case in chosen:
        left_out |= _views_missing(case, config.views)
        if config.views and not {*config.views} & {*case.views}:
            continue
        backends = tuple(_able(case, config.backends, device, left_out))
        settings = _settings(case, config, device) if backends else ()
        contests += [Contest(case, setting, backends) for setting in settings]
    if not contests and not failures:
        raise _nothing_left(left_out)
    return Plan(contests, failures, left_out)


def grouped(left_out: dict[str, str]) -> list[str]:
    """Say who was left out, one line a reason."""
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    return [f"left out, as it {reason}: {', '.join(each)}" for reason, each in names.items()]


def _nothing_left(left_out: dict[str, str]) -> WsaError:
    """Return the error of a plan in which nobody is left; the machine's, where it wants something.

    A package or a device may be had, a view that a case does not have may not.
    """
    wanting = any(reason.startswith("needs") for reason in left_out.values())
    problem = EnvironmentProblem if wanting else WsaError
    reasons = "; ".join(grouped(left_out)) or "no plugin that may be loaded offers a case"
    return problem(f"nothing to compare; {reasons}")


def _views_missing(case: Case, views: Sequence[str]) -> dict[str, str]:
    missing = [view for view in views if view not in case.views]
    return {case.name: f"has no view {', '.join(missing)}"} if missing else {}


def _chosen(names: Sequence[str], cases: dict[str, Case]) -> list[Case]:
    for name in names:
        if not any(_named(case, name) for case in cases):
            raise unknown("case", name, cases)
    if not names:
        return [case for case in cases.values() if not case.on_request]
    return [case for key, case in cases.items() if any(_named(key, name) for name in names)]


def _named(case: str, name: str) -> bool:
    """Tell whether a name means a case: its own, or that of its family."""
    return case == name or case.startswith(f"{name}/")


def _able(
    case: Case, wanted: Sequence[str], device: str, left_out: dict[str, str]
) -> Iterator[str]:
    # a backend that needs something is known, and asked for, even where a case has no such form
    asked = [name for name in dict.fromkeys((*case.contenders, *case.needs)) if name in wanted]
    for backend in asked if wanted else case.contenders:
        lack = _lack(case.needs.get(backend), device)
        if not lack and backend not in case.contenders:
            lack = "has no such form"
        if lack:
            left_out[f"{case.name} {backend}"] = lack
        else:
            yield backend


def _lack(need: str | None, device: str) -> str:
    if need == "cuda":
        return "" if device == "cuda" else "needs a CUDA device"
    if need and importlib.util.find_spec(need) is None:
        return f"needs the package {need}"
    return ""


def _settings(case: Case, config: BenchConfig, device: str) -> Iterator[Setting]:
    views = [view for view in case.views if not config.views or view in config.views]
    ranks = (config.ranks or case.ranks) if case.ranks else (0,)
    for view, rank, dtype in product(views, ranks, config.dtypes):
        usual = case.adapters.get((device, view), USUAL_ADAPTERS)
        setting = Setting(config.adapters or usual, rank, view, dtype, device)
        yield setting if config.adapters else replace(setting, adapters=case.enough(setting))
