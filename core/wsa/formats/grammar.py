"""Grammar: what a module is called in the code that stored it, and what wsa calls it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from wsa.errors import WsaError

# a word of its own; written as sd-scripts writes it, so that one module has one name
_NUMBER = re.compile(r"(?<![A-Za-z0-9])(?:0|[1-9][0-9]*)(?![A-Za-z0-9])")

Shape = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """A module of the base model, and which rows of a stored update are its own.

    `rows` holds ranges [start, stop) in the order in which the module has them; None is all rows.
    """

    module: str
    rows: tuple[tuple[int, int], ...] | None = None


class UnknownModule(WsaError):
    """A stored name that no rule knows."""

    def __init__(self, stem: str, reason: str = "no rule knows it") -> None:
        super().__init__(f"cannot name the module of {stem!r}: {reason}")


class Grammar:
    """Rules `name where it was stored -> canonical name`; # is any number, the same in both.

    A name is known dotted, as the model has it, and joined by underscores, as sd-scripts
    stores it. Nothing is ever split at an underscore.
    """

    def __init__(self, rules: Mapping[str, str]) -> None:
        self.rules = dict(rules)
        self._by_form: dict[str, list[tuple[list[str], str]]] = defaultdict(list)
        for stored, canonical in rules.items():
            numbers = re.findall(rf"#|{_NUMBER.pattern}", stored)
            for spelling in sorted({stored, stored.replace(".", "_")}):
                self._by_form[_form(spelling)].append((numbers, canonical))

    def find(self, name: str) -> str | None:
        """Return the canonical name, or None where no rule fits."""
        found = _NUMBER.findall(name)
        for numbers, canonical in self._by_form.get(_form(name), ()):
            if len(found) == len(numbers) and all(map(_fits, numbers, found)):
                return _filled(
                    canonical, [n for n, slot in zip(found, numbers, strict=True) if slot == "#"]
                )
        return None


def _filled(canonical: str, numbers: list[str]) -> str:
    words = canonical.split("#")
    return "".join(word + number for word, number in zip_longest(words, numbers, fillvalue=""))


def same(names: Iterable[str]) -> dict[str, str]:
    """Return rules for names that are canonical already."""
    return {name: name for name in names}


def _form(name: str) -> str:
    return _NUMBER.sub("#", name)


def _fits(slot: str, value: str) -> bool:
    return slot in ("#", value)
