"""Form: columns and output are what the contract says."""

from __future__ import annotations

from wsa.conformance.breach import refuse
from wsa.conformance.subject import Subject
from wsa.parameters import changed
from wsa.storage import canonical_digest


def columns_are_unique(subject: Subject) -> str:
    """Columns are named, unique, of known layers, and the same whenever asked for."""
    first, second = subject.columns(), subject.columns()
    refuse(not first, "at least one column", "none")
    refuse(first != second, f"the same {len(first)} columns when asked again", "others")
    for column in first:
        sound = isinstance(column.feature, str) and column.feature.strip() == column.feature != ""
        refuse(not sound, "a feature name, a word that is not empty", repr(column.feature))
    return f"{len(first)} columns"


def output_matches_columns(subject: Subject) -> str:
    """The output is finite float32 [n, C] on the batch's device, in memory of its own."""
    batch = subject.probe.batch(subject.view, subject.device)
    shape = [len(batch), len(subject.columns())]
    values = subject.features(subject.probe)
    refuse(list(values.shape) != shape, f"features {shape}", list(values.shape))
    raw = subject.representation.extract(batch)
    inputs = {each.untyped_storage().data_ptr() for each in (batch.flat, batch.scale)}
    alias = raw.untyped_storage().data_ptr() in inputs
    refuse(alias, "features in memory of their own", "a view of the batch's weights")
    return f"{shape[0]} x {shape[1]} float32"


def parameters_are_json(subject: Subject) -> str:
    """Parameters can stand in a cache key: they are JSON."""
    found = changed(subject.representation)
    try:
        canonical_digest(found)
    except (TypeError, ValueError) as problem:
        refuse(True, "parameters of JSON values", f"{found!r} ({problem})")
    return ""
