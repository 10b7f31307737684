"""`wsa bench`: how fast, how near to the machine's limit, and whether that changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsa.cli import options
from wsa.errors import EXIT_SOME_FAILED, WsaError
from wsa.parameters import words
from wsa.progress import say

if TYPE_CHECKING:
    from wsa.bench import Report
    from wsa.bench.gates import Change

Names = Annotated[
    list[str] | None,
    typer.Argument(help="Cases, or families of them such as peers and e2e. [all but e2e]"),
]


def bench(
    names: Names = None,
    backend: Annotated[str, typer.Option(help="Contenders by name, with commas. [all]")] = "",
    view: Annotated[str, typer.Option(help="factors, delta or both. [each case's]")] = "",
    rank: Annotated[str, typer.Option(help="Ranks, with commas. [each case's]")] = "",
    dtype: Annotated[str, typer.Option(help="Of the weights: fp32, fp16, bf16.")] = "fp32",
    adapters: Annotated[
        int | None, typer.Option(help="Adapters at once. [as fits the device]")
    ] = None,
    device: options.Device = "auto",
    threads: Annotated[int, typer.Option(help="Threads on the CPU.")] = 1,
    seconds: Annotated[float, typer.Option(help="Of rounds a contender, three at least.")] = 0.3,
    json: Annotated[
        Path | None, typer.Option(help="Write everything here, in a directory by machine and date.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="A file an earlier --json wrote.")] = None,
    fail_if: Annotated[
        str | None, typer.Option(help="With --compare: a rule such as 'slower>10%'.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail where a target ratio is missed.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the roofline here, as SVG.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the cases; time nothing.")] = False,
) -> None:
    """Time contenders that agree with the float64 truth; a contender that does not is an error."""
    from wsa import bench as benching
    from wsa.bench.config import whole_numbers
    from wsa.bench.plan import hidden

    config = benching.BenchConfig(
        names=tuple(names or ()),
        backends=words(backend),
        views=words(view),
        ranks=whole_numbers("--rank", rank),
        dtypes=words(dtype),
        adapters=adapters,
        device=device,
        threads=threads,
        seconds=seconds,
    )
    if left_out := hidden():
        say(left_out)
    if list_:
        _list()
        return
    allowed = _allowed(fail_if, compare)
    benching.refuse_lost(json, plot, compare)
    before = benching.load_report(compare) if compare is not None else None
    benching.refuse_vain(config, before, check)
    report = benching.run(config)
    _print(report)
    _keep(report, json, plot)
    sound = not report.failures
    if before is not None:
        sound &= _no_slower(benching.compared(before, report, config, allowed), allowed)
    if check:
        sound &= _targets_hold(report)
    if not sound:
        raise typer.Exit(EXIT_SOME_FAILED)


def _allowed(fail_if: str | None, compare: Path | None) -> float:
    """Return by how many per cent a contender may have become slower."""
    from wsa.bench import gates

    if fail_if is None:
        return float("inf")
    if compare is None:
        raise WsaError("--fail-if needs --compare FILE: what to be slower than")
    return gates.parse_rule(fail_if)


def _keep(report: Report, json: Path | None, plot: Path | None) -> None:
    from wsa.bench import roofline, save_report

    if json is not None:
        say(f"results: {save_report(report, json)}")
    if plot is not None:
        roofline.plot(report, plot)
        say(f"roofline: {plot}")


def _list() -> None:
    from wsa.bench.plan import load_cases

    cases, failures = load_cases()
    for name, case in cases.items():
        print(f"{name}: {', '.join(case.contenders)}")
    for problem in failures.values():
        say(problem)
    if failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def _print(report: Report) -> None:
    from wsa.bench.table import bench_table, closing
    from wsa.cli.table import print_table

    if report.rows:
        print_table(bench_table(report), whole=True)
    print("\n".join(closing(report)))


def _no_slower(found: list[Change], allowed: float) -> bool:
    worse = [change for change in found if change.slower > allowed]
    for change in found:
        print(("SLOWER " if change in worse else "") + change.told())
    return not worse


def _targets_hold(report: Report) -> bool:
    from wsa.bench import gates
    from wsa.bench.plan import load_cases

    found = gates.verdicts(load_cases()[0].values(), report)
    for verdict in found:
        print(verdict.told())
    return all(verdict.holds for verdict in found)
