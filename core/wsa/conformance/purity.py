"""Purity: an answer depends on the batch alone, and nothing but the answer is left behind."""

from __future__ import annotations

import contextlib
import io

from wsa import surroundings
from wsa.conformance.breach import refuse, refuse_difference
from wsa.conformance.probe import drawn
from wsa.conformance.subject import Subject


def input_is_not_written(subject: Subject) -> str:
    """Weights, scales and shared intermediates are as they were."""
    batch = subject.probe.batch(subject.view, subject.device)
    flat, scale = batch.flat.clone(), batch.scale.clone()
    batch.seal()
    subject.representation.extract(batch)
    written = int((batch.flat != flat).sum() + (batch.scale != scale).sum())
    refuse(written > 0, "an input nobody writes to", f"{written} entries with other values")
    refuse(not batch.intact(), "an input nobody writes to", "a write to what others share")
    return ""


def second_call_gives_the_same_bytes(subject: Subject) -> str:
    """The same batch again, another one between, gives the same bytes."""
    first = subject.features(subject.probe)
    subject.features(drawn(adapters=2, rank=1))
    second = subject.features(subject.probe)
    refuse_difference(second, first, subject.columns(), "on a second call")
    return ""


def nothing_is_printed(subject: Subject) -> str:
    """Standard output, where results go, stays empty."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        batch = subject.probe.batch(subject.view, subject.device)
        subject.representation.columns(batch.layers)
        subject.representation.extract(batch)
    text = printed.getvalue()
    refuse(bool(text), "silence on standard output", repr(text[:60]))
    return ""


def torch_is_left_as_it_was(subject: Subject) -> str:
    """torch's settings, random states, functions: what all share is as it was."""
    batch = subject.probe.batch(subject.view, subject.device)
    with surroundings.kept() as changed:
        subject.representation.columns(batch.layers)
        subject.representation.extract(batch)
    refuse(bool(changed), "all that plugins share as it was", f"a change of {', '.join(changed)}")
    return ""
