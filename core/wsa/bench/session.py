"""Session: pytest-benchmark run on our entries, whatever pytest is configured to do here."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

from wsa.bench import timed
from wsa.bench.clock import Clock
from wsa.bench.entry import Entry, Ground, Judged, LeftOut, judge
from wsa.bench.plan import Contest
from wsa.errors import cause
from wsa.progress import Progress, progress

# What pytest brings along that would look at this directory, write to it, or talk.
UNWANTED = ("cacheprovider", "terminal", "warnings", "faulthandler", "logging")
# What would configure our pytest from outside; one worker of several would time nothing.
VARIABLES = (
    "PYTEST_ADDOPTS",
    "PYTEST_PLUGINS",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD",
    "PYTEST_XDIST_WORKER",
)


@dataclass
class Bench:
    """A pytest plugin that hands out entries, one contest resident at a time."""

    entries: Sequence[Entry]
    clock: Clock
    seconds: float
    machine: dict[str, Any]
    commit: dict[str, Any]
    bar: Progress = field(default_factory=lambda: Progress("bench", 0, "contenders"))
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    ground: Ground | None = None
    broken: dict[Contest, BaseException] = field(default_factory=dict)

    @pytest.fixture
    def bench(self) -> Bench:
        """Return this plugin."""
        return self

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one benchmark of each entry, grouped by contest."""
        timer = {"timer": self.clock.now}
        marks = [pytest.mark.benchmark(group=each.contest.name, **timer) for each in self.entries]
        pairs = zip(self.entries, marks, strict=True)
        metafunc.parametrize(
            "entry", [pytest.param(each, id=each.name, marks=mark) for each, mark in pairs]
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_benchmark_generate_machine_info(self, config: pytest.Config) -> dict[str, Any]:
        """Describe the machine by what matters here, and not by its owner's name for it."""
        return self.machine

    @pytest.hookimpl(tryfirst=True)
    def pytest_benchmark_generate_commit_info(self, config: pytest.Config) -> dict[str, Any]:
        """Tell wsa's commit, not that of the directory the bench was started in."""
        return self.commit

    @contextmanager
    def judged(self, entry: Entry) -> Iterator[Judged]:
        """Lend a judged entry to the clock; what goes wrong is kept, and the others go on."""
        try:
            yield judge(entry, self._ground(entry.contest), self.clock, self.seconds)
        except KeyboardInterrupt:
            raise
        except LeftOut as reason:
            self.left_out[entry.name] = str(reason)
            raise
        except BaseException as problem:  # a contender may also exit, or skip
            self.failures[entry.name] = cause(problem)
            if self.ground is not None and self.ground.changed:
                self.ground = None  # the others get inputs that nobody wrote to
            raise
        finally:
            self.bar.advance(1, entry.name)

    def _ground(self, contest: Contest) -> Ground:
        if contest in self.broken:
            raise self.broken[contest]
        if self.ground is None or self.ground.contest is not contest:
            self.ground = None  # the last one's weights go before these come
            try:
                self.ground = Ground(contest)
            except BaseException as problem:  # told of every contender, computed once
                self.broken[contest] = problem
                raise
        return self.ground


def measure(bench: Bench) -> dict[str, Any]:
    """Judge and time every entry; return pytest-benchmark's document, and leave who failed."""
    bar = progress("bench", len(bench.entries), "contenders")
    with bar as bench.bar, tempfile.TemporaryDirectory() as folder, _undisturbed():
        code = pytest.main(_arguments(Path(folder)), plugins=[bench])
        written = Path(folder) / "benchmarks.json"
        found = json.loads(written.read_bytes()) if written.exists() else _nothing(bench)
    if code == pytest.ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code!r}")
    document: dict[str, Any] = found
    return document


def _arguments(folder: Path) -> list[str]:
    return [
        str(timed.__file__),
        *("-c", os.devnull, "--rootdir", str(folder), "--noconftest", "--capture=no"),
        *("--import-mode=importlib", "--assert=plain", "--override-ini=python_functions=time_*"),
        *(part for name in UNWANTED for part in ("-p", f"no:{name}")),
        *("-p", "pytest_benchmark.plugin", "--benchmark-quiet"),
        *("--benchmark-json", str(folder / "benchmarks.json")),
        *("--benchmark-storage", f"file://{folder}"),
    ]


def _nothing(bench: Bench) -> dict[str, Any]:
    """Return the document of a session in which nobody was timed: pytest-benchmark writes none."""
    return {"machine_info": bench.machine, "commit_info": bench.commit, "benchmarks": []}


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the environment's pytest out, and what contenders print off standard output."""
    before = {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            # it says that nothing was timed, which we tell with the reason
            warnings.simplefilter("ignore", PytestBenchmarkWarning)
            yield
    finally:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        os.environ.update(before)
