from __future__ import annotations

import pytest

from wsa import Representation, registry
from wsa.conformance import CHECKS, check_one
from wsa.parameters import changed
from wsa.representation import Composite
from wsa_plugins.distribution import Distribution
from wsa_plugins.profile import Profile
from wsa_plugins.spectral import Spectral

# compiling every operation takes minutes, and the operations' own tests do: a few stand for all
COMPILED = ("profile", "spectral")
CHEAP = [name for name in CHECKS if name != "compiled-equals-eager"]
OTHERS: list[Representation] = [Spectral(top=20), Profile(groups=8), Distribution(bins=64)]


def told(representation: Representation) -> str:
    return f"{representation.name}{changed(representation)}"


def offered() -> list[Representation]:
    plugins = [each for each in registry.installed() if each.distribution == "wsa"]
    found = [offer.representation for plugin in plugins for offer in registry.load(plugin)]
    return OTHERS + [each for each in found if not isinstance(each, Composite)]


@pytest.mark.parametrize("view", ["factors", "delta"])
@pytest.mark.parametrize(
    "representation", offered(), ids=lambda each: each.name + str(changed(each))
)
def test_a_built_in_keeps_every_promise(representation: Representation, view: str) -> None:
    if view in getattr(representation, "views", ("factors", "delta")):
        verdicts = [check_one(representation, name, view) for name in CHEAP]
        assert [each for each in verdicts if each.status == "failed"] == []


@pytest.mark.parametrize("view", ["factors", "delta"])
@pytest.mark.parametrize("name", COMPILED)
def test_a_compiled_built_in_equals_the_eager_one(name: str, view: str) -> None:
    (representation,) = [each for each in offered()[len(OTHERS) :] if each.name == name]
    verdict = check_one(representation, "compiled-equals-eager", view)
    assert verdict.status in ("ok", "skipped"), verdict.detail


def test_most_built_ins_declare_what_they_do_not_know() -> None:
    declared = {each.name for each in offered() if getattr(each, "invariances", ())}
    assert declared == {each.name for each in offered()}
