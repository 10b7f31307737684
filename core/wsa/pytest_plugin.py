"""The pytest plugin: a test marked with a representation becomes a test for every check.

@pytest.mark.wsa_representation(Sign())
def test_sign_keeps_the_contract(wsa_check):
    wsa_check()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MARKER = "wsa_representation"
FIXTURE = "wsa_check"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    told = f"{MARKER}(representation): what the fixture {FIXTURE} holds to wsa's contract"
    config.addinivalue_line("markers", told)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for every check, in every view the representation describes."""
    if FIXTURE not in metafunc.fixturenames:
        return
    from wsa.conformance import checks_of

    found = checks_of(_marked(metafunc.definition))
    names = [f"{view}-{name}" for name, view in found]
    metafunc.parametrize(FIXTURE, found, ids=names, indirect=True)


@pytest.fixture
def wsa_check(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Return a call that fails with what was expected and what it got.

    A test that asks for it carries `@pytest.mark.wsa_representation(Sign())`, and becomes a test
    for every check, in every view that the representation describes.
    """
    from wsa.conformance import check_one

    name, view = request.param
    representation = _marked(request.node)

    def run() -> None:
        verdict = check_one(representation, name, view)
        if verdict.status == "skipped":
            pytest.skip(verdict.detail)
        if verdict.status == "failed":
            pytest.fail(f"{name} (view {view}): {verdict.detail}", pytrace=False)

    return run


def _marked(item: Any) -> Any:
    marker = item.get_closest_marker(MARKER)
    if marker is None or not marker.args:
        raise pytest.UsageError(
            f"{FIXTURE} needs @pytest.mark.{MARKER}(YourRepresentation()) on its test; "
            f"{item.name} has none"
        )
    return marker.args[0]
