"""Admission: what a plugin offers is looked over before anything is asked of it.

A message goes on where `plugin 'NAME'` ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wsa import hookspecs, parameters
from wsa.case import Case
from wsa.errors import PluginFailure, cause
from wsa.layers import VIEWS
from wsa.representation import Composite, Representation
from wsa.storage import canonical_digest

# a name stands in the names of files and in every table
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
GREATEST_VERSION = 2**53
CASE_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")


class Refused(PluginFailure):
    """What a plugin offers cannot be taken."""


def module(found: Any, distribution: str) -> None:
    """Raise Refused for a module that is written for another version of the interface."""
    needed, version = hookspecs.API_VERSION, getattr(found, "wsa_api_version", None)
    if version not in (None, needed):
        raise Refused(
            f" is written for version {version!r} of wsa's plugin interface, "
            f"and this wsa has version {needed}; install another release of {distribution}"
        )


def representation(offered: Any) -> None:
    """Raise Refused for what is no representation, or could not be told from others."""
    if not isinstance(offered, Representation | Composite):
        raise Refused(
            f" offered {type(offered).__name__!r}; needed an object with name, version, "
            f"columns(layers) and extract(batch)"
        )
    name, version = offered.name, offered.version
    if not isinstance(version, int) or not 0 <= version < GREATEST_VERSION or not _is_name(name):
        raise Refused(
            f": a representation needs a version from 0 to 2^53 and a name of at most 60 "
            f"letters a-z, digits and _; got {str(name)[:80]!r} version {str(version)[:20]}"
        )
    views = getattr(offered, "views", VIEWS)
    if not views or isinstance(views, str) or not set(views) <= set(VIEWS):
        raise Refused(f": views needs some of {VIEWS}; got {views!r}")
    if isinstance(offered, Composite) and not all(map(_is_name, offered.parts)):
        raise Refused(f": parts needs names of representations; got {offered.parts!r}")
    try:
        parameters.kinds(offered)
        _refuse_no_json(parameters.changed(offered))
    except PluginFailure as problem:
        raise Refused(f": {problem}") from problem


def case(offered: Any) -> None:
    """Raise Refused for what `wsa bench` could not run, or not name."""
    if not isinstance(offered, Case):
        raise PluginFailure(f" offered {type(offered).__name__!r}; needed a wsa.Case")
    if not CASE_NAME.fullmatch(offered.name) or not offered.contenders:
        raise Refused(
            f": a case needs contenders and a name of a-z, 0-9, _ and /; got {offered.name!r} "
            f"with {len(offered.contenders)} contenders"
        )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def _refuse_no_json(found: Mapping[str, Any]) -> None:
    try:
        canonical_digest(dict(found))
    except (TypeError, ValueError) as problem:
        raise PluginFailure(f"parameters needs JSON values; {cause(problem)}") from problem
