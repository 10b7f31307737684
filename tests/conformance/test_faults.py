from __future__ import annotations

import re

import pytest
from tests.conformance.faults import FAULTS, Fault, Honest

from wsa.conformance import CHECKS, check_one, checks_of


def told(fault: Fault) -> str:
    return f"{fault.representation.__name__}-{fault.check}"


@pytest.mark.parametrize("fault", FAULTS, ids=told)
def test_a_planted_fault_is_caught_with_what_was_expected_and_got(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.conformance.cost.TIMES_STATS", 5.0)
    representation = fault.representation()
    view = getattr(representation, "views", ("factors",))[0]
    verdict = check_one(representation, fault.check, view)
    assert verdict.status == "failed"
    assert re.search(fault.message, verdict.detail), verdict.detail
    assert re.search(r"expected .*got", verdict.detail)
    assert "\n" not in verdict.detail


@pytest.mark.parametrize(("name", "view"), checks_of(Honest()))
def test_an_honest_representation_passes_every_check(name: str, view: str) -> None:
    verdict = check_one(Honest(), name, view)
    assert verdict.status in ("ok", "skipped"), verdict.detail
    assert (verdict.status == "skipped") == (name == "declared-invariances-hold")


def test_every_check_catches_a_fault() -> None:
    assert {fault.check for fault in FAULTS} == set(CHECKS)
