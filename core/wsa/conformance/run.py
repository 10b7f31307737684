"""Run: every check of a representation, in every view it describes, and what each one found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from wsa.conformance.breach import NothingToCheck
from wsa.conformance.consistency import (
    a_layer_set_is_cut_from_all,
    adapters_may_come_in_any_order,
    shards_may_be_split,
)
from wsa.conformance.cost import (
    compiled_equals_eager,
    memory_does_not_grow,
    memory_is_bounded,
    time_is_told_against_stats,
)
from wsa.conformance.form import columns_are_unique, output_matches_columns, parameters_are_json
from wsa.conformance.inputs import (
    degenerate_layers_are_finite,
    every_rank_has_as_many_columns,
    half_precision_is_upcast,
)
from wsa.conformance.invariance import declared_invariances_hold
from wsa.conformance.probe import Probe, drawn
from wsa.conformance.purity import (
    input_is_not_written,
    nothing_is_printed,
    second_call_gives_the_same_bytes,
    torch_is_left_as_it_was,
)
from wsa.conformance.subject import Subject
from wsa.errors import PluginFailure, cause
from wsa.interruption import from_outside
from wsa.layers import VIEWS
from wsa.representation import Representation

Check = Callable[[Subject], str]

# by name, in the order they are run: what others build on comes first
CHECKS: dict[str, Check] = {
    check.__name__.replace("_", "-"): check
    for check in (
        columns_are_unique,
        parameters_are_json,
        output_matches_columns,
        input_is_not_written,
        nothing_is_printed,
        torch_is_left_as_it_was,
        second_call_gives_the_same_bytes,
        adapters_may_come_in_any_order,
        shards_may_be_split,
        a_layer_set_is_cut_from_all,
        degenerate_layers_are_finite,
        every_rank_has_as_many_columns,
        half_precision_is_upcast,
        declared_invariances_hold,
        compiled_equals_eager,
        memory_is_bounded,
        memory_does_not_grow,
        time_is_told_against_stats,
    )
}
OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True)
class Verdict:
    """What one check found in one view: `ok`, `failed` or `skipped`, and the reason or figure."""

    check: str
    view: str
    status: str
    detail: str


def check(
    representation: Representation, probe: Probe | None = None, device: str = "cpu"
) -> Iterator[Verdict]:
    """Yield a verdict for every check, in every view the representation describes."""
    for name, view in checks_of(representation):
        yield check_one(representation, name, view, probe, device)


def checks_of(representation: Representation) -> list[tuple[str, str]]:
    """Return (check, view) of everything that can be checked."""
    views = tuple(getattr(representation, "views", VIEWS))
    return [(name, view) for view in VIEWS if view in views for name in CHECKS]


def check_one(
    representation: Representation,
    name: str,
    view: str,
    probe: Probe | None = None,
    device: str = "cpu",
) -> Verdict:
    """Run one check in one view; whatever the representation raises is a verdict."""
    subject = Subject(representation, view, torch.device(device), probe or drawn())
    if view not in subject.probe.views:
        return Verdict(name, view, SKIPPED, f"the population has no view {view}")
    try:
        return Verdict(name, view, OK, CHECKS[name](subject))
    except NothingToCheck as reason:
        return Verdict(name, view, SKIPPED, str(reason))
    except PluginFailure as problem:
        return Verdict(name, view, FAILED, _expected_first(str(problem)))
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt) and from_outside(problem):
            raise
        return Verdict(name, view, FAILED, f"expected an answer, got {cause(problem)}")


def _expected_first(message: str) -> str:
    """Word the contract's messages as the checks': expected against got."""
    told = re.sub(r"\bneeded\b", "expected", re.sub(r" needs\b", ": expected", message))
    return told if "expected" in told else f"expected an answer, got: {told}"
