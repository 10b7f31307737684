"""Assembly: from a folder of adapter files to a population, or to the list of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from wsa.errors import WsaError
from wsa.formats.refusal import Refused, shown
from wsa.population.discovery import find_files
from wsa.population.files import FilePopulation, in_groups
from wsa.population.labelling import TABLES, Labelled, label, metadata_key
from wsa.population.members import agree, describe
from wsa.progress import say

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.population.members import Member
    from wsa.population.reading import Reading


class RefusedFiles(WsaError):
    """Files of a population are refused; the rows say which and why."""

    def __init__(self, refused: Sequence[Refused], total: int) -> None:
        self.refused = tuple(refused)
        files = sum(each.name not in TABLES for each in refused)
        what = f"{files} of {total} files are refused" if files else "the labels are refused"
        super().__init__(f"{what} (listed above): mend them, or leave them out with --skip-bad")


def file_population(root: Path, reading: Reading) -> FilePopulation:
    """Describe every file below a folder from its header, and put them in groups that lie alike.

    Raises WsaError, after telling every refused file and why, unless bad files may be skipped.
    """
    key = metadata_key(reading)
    found, refused = find_files(root)
    chosen = found[: reading.limit]
    members, bad = describe(chosen, reading, key)
    refused += bad
    if not members:
        tell(refused)
        raise WsaError(f"{root} holds no adapter that can be read; {len(refused)} are refused")
    agreed = agree(members, reading.common_modules)
    ordered = in_groups(agreed.members, agreed.modules)
    everyone = [each.name for each in found]
    labelled = label(ordered, root if root.is_dir() else root.parent, reading, everyone)
    refused += [*agreed.refused, *labelled.refused]
    tell(refused)
    if refused and not reading.skip_bad:
        raise RefusedFiles(refused, len(chosen))
    for note in agreed.notes:
        say(note)
    members, labels = _without(ordered, labelled)
    return FilePopulation(
        members, agreed.modules, labels, refused, agreed.notes, reading.num_workers
    )


def _without(members: Sequence[Member], labelled: Labelled) -> tuple[list[Member], pa.Table]:
    """Return the members that have labels, and their rows."""
    lost = {each.name for each in labelled.refused}
    rows = [row for row, member in enumerate(members) if member.name not in lost]
    if not rows:
        raise WsaError("no adapter has a label; the refused ones are listed above")
    return [members[row] for row in rows], labelled.table.take(pa.array(rows, pa.int64()))


def tell(refused: Sequence[Refused]) -> None:
    """Say of every refused file, in one line each, why."""
    for each in refused:
        say(f"refused {shown(each.name)}: {each.reason}")
