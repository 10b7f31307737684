"""Assembly: from a folder of adapter files to a population, or to the list of what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsa.errors import WsaError
from wsa.formats.refusal import Refused, shown
from wsa.population.discovery import find_files
from wsa.population.files import FilePopulation, in_groups
from wsa.population.labelling import label, metadata_key
from wsa.population.members import agree, describe
from wsa.progress import say

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.population.reading import Reading


class RefusedFiles(WsaError):
    """Files of a population are refused; the rows say which and why."""

    def __init__(self, refused: Sequence[Refused], total: int) -> None:
        self.refused = tuple(refused)
        super().__init__(
            f"{len(refused)} of {total} files are refused (listed above): mend them, or leave them "
            f"out with --skip-bad"
        )


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
    return FilePopulation(
        ordered, agreed.modules, labelled.table, refused, agreed.notes, reading.num_workers
    )


def tell(refused: Sequence[Refused]) -> None:
    """Say of every refused file, in one line each, why."""
    for each in refused:
        say(f"refused {shown(each.name)}: {each.reason}")
