"""The module pytest-benchmark collects: each entry is judged, and timed where it agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsa.bench.entry import Entry
    from wsa.bench.session import Bench


def time_entry(benchmark: Any, entry: Entry, bench: Bench) -> None:
    """Time one entry, round by round; one that fails or disagrees leaves a failure instead."""
    # one that was not timed to the end is told of by us, and by pytest-benchmark not at all
    benchmark.skipped = benchmark.has_error = True
    with bench.judged(entry) as judged:
        benchmark.extra_info.update(judged.facts, adapters_timed=judged.adapters)
        bench.clock.own.clear()
        last = benchmark.pedantic(judged.call, setup=bench.clock.settle, rounds=judged.rounds)
        # who answers right once and wrong later was timed at something else
        error = max(judged.facts["max_error"], judged.hold(last))
        benchmark.extra_info.update(max_error=error, own=list(bench.clock.own))
        benchmark.has_error = False
