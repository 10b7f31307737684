"""Run: from a configuration to a report."""

from __future__ import annotations

from wsa.bench.clock import clock_of, threads
from wsa.bench.config import BenchConfig
from wsa.bench.entry import Entry
from wsa.bench.machine import describe_commit, describe_machine, measure_rates
from wsa.bench.plan import grouped, make_plan
from wsa.bench.report import Report, make_report
from wsa.bench.session import Bench, measure
from wsa.cache import keep_compiled_code
from wsa.experiment.preparation import choose_device
from wsa.progress import say


def run(config: BenchConfig) -> Report:
    """Judge and time what is asked for, in this process.

    Raises WsaError for a name nobody offers; a plugin, a case or a contender that fails is in the
    report's failures, and the others go on.
    """
    device = choose_device(config.device).type
    keep_compiled_code()
    plan = make_plan(config, device)
    _tell(plan.left_out)
    entries = [Entry(contest, name) for contest in plan.contests for name in contest.backends]
    with threads(config.threads):
        clock = clock_of(device)
        rates = measure_rates(device, clock)
        machine = describe_machine(device, config.threads)
        bench = Bench(entries, clock, config.seconds, machine, describe_commit())
        document = measure(bench)
        # a machine that changed meanwhile says so here
        again = measure_rates(device, clock)
    document["rates"] = {
        **{"copy": rates.copy, "copy_after": again.copy, "product": rates.product},
        "best_copy": max(rates.best_copy, again.best_copy),
        "best_product": max(rates.best_product, again.best_product),
    }
    _tell(bench.left_out)
    missing = (plan.failures | bench.failures, plan.left_out | bench.left_out)
    return make_report(document, entries, rates, *missing)


def _tell(left_out: dict[str, str]) -> None:
    for line in grouped(left_out):
        say(line)
