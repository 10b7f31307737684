"""Consistency: features know nothing of other adapters, nor of other layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsa.conformance.breach import NothingToCheck, refuse, refuse_difference
from wsa.conformance.subject import Subject
from wsa.errors import WsaError
from wsa.representation import Column

# plain torch rounds a row otherwise in another batch; wsa's own operations do not
ROUNDING = 1e-5


def adapters_may_come_in_any_order(subject: Subject) -> str:
    """Adapters in another order give the same rows in that order."""
    order = list(reversed(range(len(subject.probe))))
    found, expected = subject.features(subject.probe, order), subject.usual[order]
    refuse_difference(found, expected, subject.columns(), "in another order", ROUNDING)
    return ""


def shards_may_be_split(subject: Subject) -> str:
    """Shards of one adapter, and of three, put together give the features of all at once."""
    count = len(subject.probe)
    for size in (1, 3):
        parts = [
            subject.features(subject.probe, range(start, min(count, start + size)))
            for start in range(0, count, size)
        ]
        when = f"in a shard of {size}"
        refuse_difference(torch.cat(parts), subject.usual, subject.columns(), when, ROUNDING)
    return ""


def a_layer_set_is_cut_from_all(subject: Subject) -> str:
    """Features of the `visual` layers alone are those cut from the features of `all`."""
    layers = subject.probe.catalogue.layers(subject.view)
    try:
        modules = {layers[i].module for i in layers.select("visual")}
    except WsaError as problem:
        raise NothingToCheck(str(problem)) from problem
    part = subject.probe.only(modules)
    kept = set(part.catalogue.layers(subject.view).names)
    places = [i for i, column in enumerate(subject.columns()) if column.layer in kept]
    expected, found = [subject.columns()[i] for i in places], subject.columns(part)
    refuse(found != expected, f"the {len(expected)} columns of visual, as in all", _told(found))
    features, cut = subject.features(part), subject.usual[:, places]
    refuse_difference(features, cut, expected, "with the visual layers alone", ROUNDING)
    return f"{len(kept)} of {len(layers)} layers"


def _told(columns: Sequence[Column]) -> str:
    return f"{len(columns)}, the first {columns[0].name!r}" if columns else "none"
