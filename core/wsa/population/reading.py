"""Reading: how a population is to be read, as one value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """Every knob that decides which adapters and labels a source gives."""

    limit: int | None = None  # the first N adapters only
    num_workers: int = 4
    label: str = "category_label"  # what a label that comes from names or metadata is called
    label_from: str | None = None  # folder, or metadata:KEY
    allow_partial: bool = False
    common_modules: bool = False
    skip_bad: bool = False
    allow_pickle: bool = False
    split_fused: bool = True


EVERYTHING = Reading()
