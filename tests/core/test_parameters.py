from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from wsa import parameters
from wsa.errors import PluginFailure, WsaError
from wsa.representation import Composite


@dataclass(frozen=True)
class Given:
    top: int = 10
    share: float = 0.5
    kind: Literal["fast", "slow"] = "fast"
    centred: bool = True
    word: str | int = "x"

    name = "given"
    version = 1

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top needs at least 1; got {self.top}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stats", ("stats",)),
        (" stats , profile ", ("stats", "profile")),
        ("spectral(top=20),stats", ("spectral(top=20)", "stats")),
        ("a(x=1,y=2),b(z=3)", ("a(x=1,y=2)", "b(z=3)")),
        ("", ()),
    ],
)
def test_words_part_at_commas_outside_of_parentheses(text: str, words: tuple[str, ...]) -> None:
    assert parameters.words(text) == words


@pytest.mark.parametrize(
    ("word", "name", "arguments"),
    [
        ("stats", "stats", {}),
        ("my-plugin.x", "my-plugin.x", {}),
        ("a()", "a", {}),
        ("a(x=1, y=-2.5)", "a", {"x": 1, "y": -2.5}),
        ("a(kind=fast, flag=true, other='b c')", "a", {"kind": "fast", "flag": True}),
    ],
)
def test_a_word_is_a_name_and_arguments(word: str, name: str, arguments: dict[str, Any]) -> None:
    found, values = parameters.parsed(word)
    assert found == name
    assert arguments.items() <= values.items()


@pytest.mark.parametrize("word", ["a(", "a(1)", "a(x=)", "a(**b)", "a(x=f(1))", "(x=1)", "a)b"])
def test_a_malformed_word_is_a_users_mistake(word: str) -> None:
    with pytest.raises(WsaError, match="a plugin is written NAME or NAME"):
        parameters.parsed(word)


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(WsaError, match=r"a\(x=...\) needs to be given once; got 'a\(x=2,x=3\)'"):
        parameters.parsed("a(x=2,x=3)")


@dataclass
class Thawed:
    top: int = 10


@dataclass(frozen=True)
class Needy:
    top: int


@pytest.mark.parametrize(
    ("offered", "problem"),
    [
        (Thawed(), "parameters needs a frozen dataclass; got Thawed, which is not frozen"),
        (Needy(3), "parameter 'top' needs a default; got none"),
    ],
)
def test_parameters_are_fields_with_a_default_of_a_frozen_dataclass(
    offered: object, problem: str
) -> None:
    with pytest.raises(PluginFailure, match=problem):
        parameters.kinds(offered)


def test_arguments_take_the_place_of_defaults() -> None:
    values = {"top": 3, "share": 1, "kind": "slow", "centred": False, "word": 7}
    found = parameters.given(Given(), values)
    assert found == Given(3, 1.0, "slow", False, 7)
    assert type(found.share) is float


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"tap": 3}, "no parameter of 'given' called 'tap'.*did you mean 'top'"),
        ({"top": True}, r"given\(top=...\) needs int; got True"),
        ({"top": 2.0}, "needs int; got 2.0"),
        ({"kind": "odd"}, "needs fast or slow; got 'odd'"),
        ({"centred": 1}, "needs bool; got 1"),
        ({"share": float("inf")}, r"given\(share=...\) needs a finite number; got inf"),
        ({"share": 10**400}, r"given\(share=...\) needs a finite number; got 1000"),
        ({"top": 0}, r"given\(top=0\): ValueError: top needs at least 1"),
    ],
)
def test_a_bad_argument_says_what_was_needed(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(WsaError, match=problem):
        parameters.given(Given(), arguments)


def test_only_what_is_not_at_its_default_is_told() -> None:
    assert parameters.changed(Given()) == {}
    assert parameters.changed(Given(top=20)) == {"top": 20}
    assert parameters.told("given", {"top": 20, "kind": "slow"}) == "given(kind='slow',top=20)"


def test_what_is_told_can_be_read_back() -> None:
    found = Given(share=0.25, kind="slow", centred=False)
    name, arguments = parameters.parsed(parameters.told("given", parameters.changed(found)))
    assert (name, parameters.given(Given(), arguments)) == ("given", found)


def test_a_composite_has_no_parameters() -> None:
    assert parameters.kinds(Composite("both", 1, ("a", "b"))) == {}
    assert parameters.changed(Composite("both", 1, ("a", "b"))) == {}


def test_parameters_are_described_with_their_defaults() -> None:
    assert parameters.described(Given())["top"] == "int = 10"
    assert parameters.described(Given())["kind"] == "fast or slow = 'fast'"


def test_a_value_set_from_python_is_held_to_its_annotation() -> None:
    with pytest.raises(WsaError, match=r"given\(share=...\) needs float; got '20'"):
        parameters.refuse_mistyped(Given(share="20"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shared:
    parts: int = 8

    name = "shared"
    version = 1


def test_a_parameter_may_have_the_name_of_a_composites_parts() -> None:
    assert parameters.described(Shared()) == {"parts": "int = 8"}
    assert parameters.given(Shared(), {"parts": 16}) == Shared(16)
