"""Members: the files of a population, described from their headers, and what they agree on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wsa.formats.adapter import AdapterReader, Form
from wsa.formats.base_model import base_model
from wsa.formats.header import refuse_irregular
from wsa.formats.reading import sound_alphas
from wsa.formats.refusal import BadFile, Refused, examples, quoted
from wsa.population.discovery import Found
from wsa.population.pickles import PickleReader
from wsa.population.reading import Reading

PICKLE = (
    "a pickle may run code when it is read: convert it to safetensors (load it with "
    "torch.load(weights_only=True), save it with safetensors.torch.save_file), or run with "
    "--allow-pickle"
)
# (rows, cols, dense) by module: what two adapters must agree on
Extents = Mapping[str, tuple[int, int, bool]]


@dataclass(frozen=True, slots=True)
class Member:
    """One adapter file, as little of it as 100,000 of them allow."""

    name: str
    path: str
    size: int
    mtime_ns: int
    digest: str  # of the header
    data_start: int
    form: Form
    metadata: str | None  # the value that labels are read from
    keeper: PickleReader | None = None  # holds a converted file as long as it is needed

    @property
    def state(self) -> list[object]:
        """Tell what would change if the file did, as far as no weight need be read."""
        return [self.name, self.size, self.mtime_ns, self.digest]


@dataclass(frozen=True)
class Agreed:
    """The members that make a population, the modules all of them have, and who is left out."""

    members: list[Member]
    modules: tuple[str, ...]
    refused: list[Refused]
    notes: list[str]


def describe(
    found: Sequence[Found], reading: Reading, key: str | None
) -> tuple[list[Member], list[Refused]]:
    """Read every header, `num_workers` at once; what is no sound adapter is refused by name."""
    describer = Describer(
        AdapterReader(reading.allow_partial, reading.split_fused),
        PickleReader() if reading.allow_pickle else None,
        key,
    )

    def one(each: Found) -> Member | Refused:
        try:
            return describer.member(each)
        except BadFile as problem:
            return Refused(each.name, str(problem))
        except OSError as problem:  # it was there when its header was read
            return Refused(each.name, f"it cannot be read: {problem.strerror}")

    with ThreadPoolExecutor(reading.num_workers) as pool:
        all_of_them = list(pool.map(one, found))
    members = [each for each in all_of_them if isinstance(each, Member)]
    return members, [each for each in all_of_them if isinstance(each, Refused)]


def readable(each: Found, pickles: PickleReader | None) -> Path:
    """Return where a file's tensors can be read; raises BadFile for a pickle nobody allowed."""
    if not each.is_pickle:
        return Path(each.path)
    if pickles is None:
        raise BadFile(PICKLE)
    refuse_irregular(Path(each.path))
    return pickles.converted(each.path)


def agree(members: Sequence[Member], common_modules: bool) -> Agreed:
    """Hold every member to the modules most of them have.

    Another shape of one module is another base model: refused. A lacking module is refused too,
    unless the modules that all have are enough (`common_modules`).
    """
    counted = Counter(_extents_key(member.form) for member in members)
    ((key, count),) = counted.most_common(1)
    usual, told = dict(key), f"{count} of {counted.total()}"
    kept, refused = [], []
    for member in members:
        reason = _strangeness(member, usual, told, common_modules)
        if reason is None:
            kept.append(member)
        else:
            refused.append(Refused(member.name, reason))
    kept, outside = _sharing(kept)
    modules, notes = _shared(kept)
    return Agreed(kept, modules, [*refused, *outside], notes)


@dataclass(frozen=True)
class Describer:
    """Turns files into members."""

    reader: AdapterReader
    pickles: PickleReader | None
    key: str | None  # of the metadata that labels are read from

    def member(self, each: Found) -> Member:
        """Describe one file; raises BadFile, with the reason."""
        path = readable(each, self.pickles)
        try:
            status = os.stat(path)
        except OSError as problem:
            raise BadFile(f"it cannot be read: {problem.strerror}") from problem
        file = self.reader.describe(path, Path(each.path))
        sound_alphas(file)
        return Member(
            each.name,
            str(path),
            status.st_size,
            status.st_mtime_ns,
            file.header.digest,
            file.header.data_start,
            file.form,
            file.header.metadata.get(self.key) if self.key else None,
            self.pickles if each.is_pickle else None,
        )


def _extents_key(form: Form) -> tuple[tuple[str, tuple[int, int, bool]], ...]:
    return tuple(_extents(form).items())


def _extents(form: Form) -> dict[str, tuple[int, int, bool]]:
    return {m.name: (m.extent.rows, m.extent.cols, m.is_dense) for m in form.modules}


def _strangeness(member: Member, usual: Extents, told: str, common_modules: bool) -> str | None:
    """Say why a member does not belong to the others, or None where it does."""
    own = _extents(member.form)
    differing = [name for name in own if name in usual and own[name] != usual[name]]
    if differing:
        name = differing[0]
        return f"{_told(own, name)}, unlike {told} adapters: {_told(usual, name)}"
    if not own.keys() & usual.keys():
        lost = f"none of its modules is one of {told} adapters"
        return f"{_told(own, next(iter(own)))}; {lost}: {_told(usual, next(iter(usual)))}"
    lacking, beside = usual.keys() - own.keys(), own.keys() - usual.keys()
    if common_modules or not (lacking or beside):
        return None
    what = f"lacks {examples(list(lacking))}" if lacking else f"has {examples(list(beside))} beside"
    return f"it {what} of the modules that most adapters have; --common-modules takes what all have"


def _told(extents: Extents, name: str) -> str:
    guess = base_model({module: each[:2] for module, each in extents.items()}, {})
    rows, cols, dense = extents[name]
    what = f"{rows} x {cols}{', a plain matrix' if dense else ''}"
    return f"base model {guess.name} ({quoted(name)} is {what})"


def _sharing(members: list[Member]) -> tuple[list[Member], list[Refused]]:
    """Return the largest group of members that have any module in common, and who is outside it."""
    forms = _forms(members)
    counted: Counter[str] = Counter()
    for key, count in Counter(id(member.form) for member in members).items():
        counted.update(dict.fromkeys(forms[key].shapes, count))
    # a group shares a module, and all who have one are a group: the commonest makes the largest
    ((module, count),) = counted.most_common(1)
    if count == len(members):
        return members, []
    inside = {key for key, form in forms.items() if module in form.shapes}
    reason = (
        f"no module is in all {len(members)} adapters: {count} have {quoted(module)}, this one "
        f"does not"
    )
    outside = [Refused(each.name, reason) for each in members if id(each.form) not in inside]
    return [each for each in members if id(each.form) in inside], outside


def _forms(members: Iterable[Member]) -> dict[int, Form]:
    return {id(member.form): member.form for member in members}


def _shared(members: Iterable[Member]) -> tuple[tuple[str, ...], list[str]]:
    """Return the modules that all members have, in their order, and what that drops."""
    every = [
        dict.fromkeys(module.name for module in form.modules) for form in _forms(members).values()
    ]
    shared = tuple(name for name in every[0] if all(name in names for names in every))
    dropped = sorted({name for names in every for name in names} - set(shared))
    told = [f"modules that not all adapters have are left out: {examples(dropped)}"]
    return shared, told if dropped else []
