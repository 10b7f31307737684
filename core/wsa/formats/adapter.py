"""Adapter: one file as modules of its base model, from its header alone.

Strict: every key is matched, or the file is refused with counts and examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from wsa.formats.algebra import KINDS, Dense, Extent, Kind
from wsa.formats.config import Config, Configs, read_configs
from wsa.formats.header import Header, HeaderReader, Stored, Structure
from wsa.formats.keys import ALPHA, DENSE, KOHYA, LOHA, LOKR, Parsed, parse_keys
from wsa.formats.naming import Place, UnknownModule, places
from wsa.formats.refusal import BadFile, BadModule, Refused, examples, quoted
from wsa.layers import natural

FLOATS = ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2")
NUMBERS = ("F16", "BF16", "F32", "F64", "I32", "I64")
# What torch's batch norm counts beside its weights.
_COUNTERS = ("num_batches_tracked",)
# roles whose matrices are taken as they are; all others are multiplied out, to 8 GiB at most
_STORED = {"up", "down", "embedding_up", "embedding_down", "dense"}
MOST_FORMED = 1 << 31
ASSUMED = "alpha=assumed"


@dataclass(frozen=True)
class Scale:
    """By what an update is multiplied: a number, or a stored alpha over `divisor`."""

    value: float = 1.0
    key: str | None = None
    divisor: float = 1.0
    assumed: bool = False
    alpha: float | None = None  # that a configuration says


@dataclass(frozen=True)
class Module:
    """One module's update, or one dense matrix, as a file stores it."""

    name: str
    kind: Kind
    keys: tuple[tuple[str, str], ...]  # role -> stored name
    extent: Extent  # after `rows` is taken
    rows: tuple[tuple[int, int], ...] | None  # of the stored update; None: all
    scale: Scale

    @property
    def is_dense(self) -> bool:
        """Tell whether this is a matrix of a plain network, which no view `delta` has."""
        return isinstance(self.kind, Dense)


@dataclass(frozen=True)
class Form:
    """What files of one structure and configuration are: modules in natural order."""

    family: str
    modules: tuple[Module, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    structure: Structure

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Return (rows, cols) of every module by name: what a population must agree on."""
        return {each.name: (each.extent.rows, each.extent.cols) for each in self.modules}

    @cached_property
    def alphas(self) -> Mapping[str, Stored]:
        """Return where every stored alpha lies, by the module's name."""
        keys = {each.name: each.scale.key for each in self.modules}
        return {name: self.structure.tensors[key] for name, key in keys.items() if key is not None}

    @cached_property
    def dtype(self) -> str:
        """Return the type the flat buffer needs: the stored one where nothing is computed."""
        found = {self.structure.tensors[key].dtype for m in self.modules for _, key in m.keys}
        plain = all({role for role, _ in m.keys} <= {"up", "down", "dense"} for m in self.modules)
        return found.pop() if plain and len(found) == 1 and found <= {"F16", "BF16"} else "F32"


@dataclass(frozen=True)
class AdapterFile:
    """One file: where it is, what it says of itself, and what it is."""

    path: Path
    header: Header
    configs: Configs
    form: Form


@dataclass
class AdapterReader:
    """Describes files; what files of one structure have in common is found out once."""

    allow_partial: bool = False
    split_fused: bool = True
    headers: HeaderReader = field(default_factory=HeaderReader)
    forms: dict[tuple[str, str], Form | Refused] = field(default_factory=dict)

    def describe(self, path: Path, origin: Path | None = None) -> AdapterFile:
        """Return what a file is, from its header; raises BadFile, with the reason.

        `origin` is where a converted file came from: its configuration lies there.
        """
        header = self.headers.read(path)
        configs = read_configs(origin or path, header.metadata)
        key = (header.structure.digest, configs.digest)
        if key not in self.forms:
            self.forms[key] = self._form_or_reason(header.structure, configs)
        form = self.forms[key]
        if isinstance(form, Refused):
            raise BadFile(form.reason)
        return AdapterFile(path, header, configs, form)

    def _form_or_reason(self, structure: Structure, configs: Configs) -> Form | Refused:
        try:
            return self._form(structure, configs)
        except BadFile as problem:
            return Refused("", str(problem))

    def _form(self, structure: Structure, configs: Configs) -> Form:
        parsed = parse_keys(structure.tensors)
        kind = configs.refusal()
        if kind:
            raise BadFile(f"unsupported: {kind}; wsa reads LoRA, LoCon, LoHa and LoKr")
        kept = {
            stem: roles
            for stem, roles in parsed.modules.items()
            if stem not in parsed.unsupported and not stem.endswith(_COUNTERS)
        }
        context = _Context(parsed.family, structure, configs.resolved(kept))
        modules, unknown = self._named(context, kept)
        if not self.allow_partial:
            _refuse_skipped(parsed, unknown, context)
        if not modules:
            raise BadFile(f"it holds no matrix that wsa can read{parsed.beyond}")
        ordered = tuple(sorted(modules, key=lambda module: natural(module.name)))
        _refuse_doubles(ordered)
        _refuse_vast(ordered)
        read = {key for stem in kept.keys() - set(unknown) for key in kept[stem].values()}
        skipped = tuple(key for key in structure.tensors if key not in read)
        notes = _notes(ordered, parsed)
        return Form(parsed.family, ordered, skipped, notes, structure)

    def _named(
        self, context: _Context, stems: Mapping[str, Mapping[str, str]]
    ) -> tuple[list[Module], list[str]]:
        """Return the modules of all stems, and the stems that are left out."""
        modules, unknown = [], []
        for stem, roles in stems.items():
            try:
                modules += _modules(context, stem, roles, self.split_fused)
            except UnknownModule:
                unknown.append(stem)
            except BadModule:
                if not self.allow_partial:
                    raise
                unknown.append(stem)
        return modules, unknown


@dataclass(frozen=True)
class _Context:
    """What the modules of one file have in common."""

    family: str
    structure: Structure
    configs: Configs


def _modules(
    context: _Context, stem: str, roles: Mapping[str, str], split_fused: bool
) -> list[Module]:
    tensors = {role: context.structure.tensors[key] for role, key in roles.items()}
    alpha = tensors.pop(ALPHA, None)
    kind = _kind(stem, context.family, tensors)
    _refuse_types(stem, tensors)
    try:
        extent = kind.extent({role: each.shape for role, each in tensors.items()})
    except BadFile as problem:
        raise BadModule(f"module {quoted(stem)}: {problem}") from problem
    scale = _scale(stem, extent.rank, roles.get(ALPHA), alpha, context.configs)
    keys = tuple((role, roles[role]) for role in tensors)
    naming, shape = _naming(context.family, stem), (extent.rows, extent.cols)
    found = places(stem, naming, shape, split_fused)
    return [_placed(place, kind, keys, extent, scale) for place in found]


def _placed(
    place: Place, kind: Kind, keys: tuple[tuple[str, str], ...], extent: Extent, scale: Scale
) -> Module:
    rows = extent.rows if place.rows is None else sum(stop - start for start, stop in place.rows)
    own = Extent(rows, extent.cols, extent.width, extent.rank)
    return Module(place.module, kind, keys, own, place.rows, scale)


def _naming(family: str, stem: str) -> str:
    """Return whose names a stem is to be read as: LyCORIS and peft share their algorithms."""
    if family in (LOHA, LOKR):
        return KOHYA if stem.startswith(("lora_", "lycoris_")) else "peft"
    return "diffusers_old" if ".processor." in stem and family == "diffusers" else family


def _kind(stem: str, family: str, tensors: Mapping[str, Stored]) -> Kind:
    roles = tensors.keys()
    for kind in KINDS:
        # both halves of LoKr factored have the roles of LoHa
        if family in (LOHA, LOKR) and kind.name != family:
            continue
        if roles and kind.required <= roles <= kind.required | kind.optional:
            return kind
    if not roles:
        raise BadModule(f"module {quoted(stem)} has an alpha and no matrices")
    raise BadModule(
        f"module {quoted(stem)} has {', '.join(sorted(roles))} alone; needed both up and down"
        if family not in (LOHA, LOKR, DENSE)
        else f"module {quoted(stem)} has {', '.join(sorted(roles))}: not all that {family} needs"
    )


def _scale(
    stem: str, rank: int | None, key: str | None, alpha: Stored | None, configs: Configs
) -> Scale:
    if key is not None and alpha is not None:
        if alpha.shape not in ((), (1,)):
            raise BadFile(f"{quoted(key)} needs one number, got shape {list(alpha.shape)}")
        if alpha.dtype not in NUMBERS:
            raise BadFile(f"{quoted(key)} needs a number, got {alpha.dtype}")
        # LyCORIS leaves kron(w1, w2) of two whole matrices alone, whatever its alpha
        return Scale(key=key, divisor=rank) if rank else Scale()
    found: tuple[Config, str] | None = configs.of(stem)
    if found is None:
        return Scale(assumed=True)
    config, name = found
    return Scale(value=config.scale(name, rank), alpha=config.alpha(name))


def _refuse_types(stem: str, tensors: Mapping[str, Stored]) -> None:
    for role, each in tensors.items():
        if each.dtype not in FLOATS:
            raise BadModule(f"{quoted(stem)} {role} holds {each.dtype}; needed floats")


def _refuse_skipped(parsed: Parsed, unknown: Sequence[str], context: _Context) -> None:
    if parsed.unsupported:
        kinds = ", ".join(sorted(set(parsed.unsupported.values())))
        raise BadFile(
            f"unsupported: {kinds} in {examples(list(parsed.unsupported))} modules; wsa reads "
            f"LoRA, LoCon, LoHa and LoKr"
        )
    if parsed.unmatched:
        settings = ", ".join(context.configs.beside)
        raise BadFile(
            f"{examples(list(parsed.unmatched))} of {len(context.structure.tensors)} keys match no "
            f"known format{settings and f' (its configuration sets {settings})'}; --allow-partial "
            f"leaves them out"
        )
    if unknown:
        raise BadFile(
            f"{examples(unknown)} modules have names that no rule knows; --allow-partial leaves "
            f"them out"
        )


def _refuse_doubles(modules: tuple[Module, ...]) -> None:
    for one, other in pairwise(modules):
        if one.name == other.name:
            keys = [one.keys[0][1], other.keys[0][1]]
            raise BadFile(f"two updates of module {quoted(one.name)}: {examples(keys)}")


def _refuse_vast(modules: tuple[Module, ...]) -> None:
    """Refuse a small file whose products are not: a stranger may ask for any memory at all."""
    formed = sum(
        (each.extent.rows + each.extent.cols) * each.extent.width
        for each in modules
        if not {role for role, _ in each.keys} <= _STORED
    )
    if formed > MOST_FORMED:
        raise BadFile(
            f"its updates take {formed} numbers as factors; most {MOST_FORMED} are formed of a file"
        )


def _notes(modules: tuple[Module, ...], parsed: Parsed) -> tuple[str, ...]:
    assumed = sum(each.scale.assumed for each in modules if not each.is_dense)
    notes = [f"{ASSUMED} 1 x in {assumed} modules: the file states none"] if assumed else []
    if parsed.unsupported:
        notes.append(f"unsupported modules are left out{parsed.beyond}")
    return tuple(notes)
