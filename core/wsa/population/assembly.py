"""Assembly: from a folder of adapter files to a population, or to the list of what is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import pyarrow as pa

from wsa.errors import WsaError
from wsa.formats.adapter import ASSUMED
from wsa.formats.refusal import Refused, examples, shown
from wsa.population.files import FilePopulation, in_groups
from wsa.population.labelling import TABLES, Labelled, label, metadata_key
from wsa.population.members import agree, describe
from wsa.progress import say

if TYPE_CHECKING:
    from pathlib import Path

    from wsa.population.discovery import Listing
    from wsa.population.members import Member
    from wsa.population.population import Population
    from wsa.population.reading import Reading


NOT_FINITE = "its weights, or its scale, are not finite"
# Files refused for one reason that are told a line each; of more, three names and the count.
MOST_TOLD = 20


class RefusedFiles(WsaError):
    """Files of a population are refused; the rows say which and why."""

    def __init__(self, refused: Sequence[Refused], total: int) -> None:
        self.refused = tuple(refused)
        files = sum(each.name not in TABLES for each in refused)
        what = f"{files} of {total} files are refused" if files else "the labels are refused"
        super().__init__(f"{what} (listed above): mend them, or leave them out with --skip-bad")


def refuse_not_finite(population: Population, rows: Sequence[int]) -> NoReturn:
    """Tell which adapters are not finite, which only their weights can, and raise RefusedFiles."""
    names = population.identifiers
    refused = [Refused(str(names[row]), NOT_FINITE) for row in rows]
    tell(refused)
    raise RefusedFiles(refused, population.count)


def file_population(root: Path, listing: Listing, reading: Reading) -> FilePopulation:
    """Describe every file that was found from its header, and put them in groups that lie alike.

    Raises WsaError, after telling every refused file and why, unless bad files may be skipped.
    """
    key = metadata_key(reading)
    found, refused = listing
    chosen = found[: reading.limit]
    members, bad = describe(chosen, reading, key)
    refused = [*refused, *bad]
    if not members:
        tell(refused)
        raise WsaError(f"{root} holds no adapter that can be read; {len(refused)} are refused")
    agreed = agree(members, reading.common_modules)
    ordered = in_groups(agreed.members, agreed.modules)
    everyone = [each.name for each in found]
    labelled = label(ordered, root, reading, everyone)
    refused += [*agreed.refused, *labelled.refused]
    tell(refused)
    if refused and not reading.skip_bad:
        raise RefusedFiles(refused, len(chosen))
    notes = [*_noted(members), *agreed.notes, *labelled.notes]
    for note in notes:
        say(note)
    members, labels = _without(ordered, labelled)
    return FilePopulation(members, agreed.modules, labels, refused, notes, reading.num_workers)


def _noted(members: Sequence[Member]) -> list[str]:
    """Return what was taken for granted of files, or left out of them, once for all of them."""
    count, notes = len(members), []
    assumed = sum(any(note.startswith(ASSUMED) for note in each.form.notes) for each in members)
    if assumed:
        notes.append(f"{ASSUMED} 1 x in {assumed} of {count} files: they state none")
    skipping = [each for each in members if each.form.skipped]
    if skipping:
        keys = {key for form in {m.form.skipped for m in skipping} for key in form}
        told = f"{len(skipping)} of {count} files hold keys that are left out"
        notes.append(f"{told}: {examples(list(keys))}")
    # all pickles have one reader
    return notes + next((each.keeper.notes for each in members if each.keeper), [])


def _without(members: Sequence[Member], labelled: Labelled) -> tuple[list[Member], pa.Table]:
    """Return the members that have labels, and their rows."""
    lost = {each.name for each in labelled.refused}
    rows = [row for row, member in enumerate(members) if member.name not in lost]
    if not rows:
        raise WsaError("no adapter has a label; the refused ones are listed above")
    return [members[row] for row in rows], labelled.table.take(pa.array(rows, pa.int64()))


def tell(refused: Sequence[Refused]) -> None:
    """Say of every refused file why, in one line each, or in one for many of one reason."""
    alike: dict[str, list[str]] = defaultdict(list)
    for each in refused:
        alike[each.reason].append(each.name)
    for reason, names in alike.items():
        if len(names) > MOST_TOLD:
            say(f"refused {examples(names)}: {reason}")
        else:
            for name in names:
                say(f"refused {shown(name)}: {reason}")
