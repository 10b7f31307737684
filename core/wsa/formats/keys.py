"""Keys: from a stored tensor's name to the module's stem, the part it plays, and the family.

Sources: the formats of peft 0.21, diffusers 0.42, sd-scripts, LyCORIS 4.1 and XLabs' trainer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wsa.formats.refusal import BadFile, examples

# Families of names: how a file is told from another's.
PEFT, DIFFUSERS, KOHYA, XLABS, LOHA, LOKR, DENSE = (
    *("peft", "diffusers", "kohya", "xlabs", "loha", "lokr", "dense"),
)
UP, DOWN, MID, ALPHA = "up", "down", "mid", "alpha"
_COMPONENT = re.compile(r"(unet|transformer|text_encoder(_\d)?)\.")
# what no plain network has in its names
_ADAPTED = re.compile(r"^base_model\.|^lycoris_|(?<![A-Za-z])(lora|lokr|hada)(?![a-z])")
_HALF = {"A": DOWN, "B": UP, "down": DOWN, "up": UP, "mid": MID}
_LYCORIS = r"(?P<stem>(?:lora|lycoris)_.+?)"
_ANY = r"(?P<stem>.+?)"
# What a file holds beside low-rank updates, and what it is called by those who make it.
_UNSUPPORTED = {
    kind: re.compile(pattern, re.DOTALL)
    for kind, pattern in {
        "DoRA": rf"{_ANY}\.(dora_scale|lora_magnitude_vector(\..+)?)",
        "full difference": rf"{_ANY}\.(diff|diff_b|set_weight)",
        "OFT or BOFT": rf"{_ANY}\.(oft|boft)_\w+(\..+)?",
        "GLoRA": rf"{_LYCORIS}\.[ab][12](\.weight)?",
        "T-LoRA": rf"{_LYCORIS}\.(lambda_layer|[pq]_layer\.weight)",
        "norm difference": rf"{_LYCORIS}\.(w_norm|b_norm)",
        "IA3": rf"{_ANY}\.(on_input|ia3_l(\..+)?)",
        "VeRA": rf"{_ANY}\.vera_lambda_[bd](\..+)?",
        "AdaLoRA": rf"{_ANY}\.lora_E(\..+)?",
        "LoRA with a bias": rf"{_ANY}\.lora_B(\.[^.]+)?\.bias",
    }.items()
}


@dataclass(frozen=True)
class Part:
    """One tensor's place in its module: `stem` without the half's suffix, and the role."""

    stem: str
    role: str
    family: str  # "" for a role that every family has


@dataclass(frozen=True)
class Parsed:
    """The keys of one file, sorted into modules."""

    family: str
    modules: Mapping[str, Mapping[str, str]]  # stem -> role -> key
    unsupported: Mapping[str, str]  # stem -> what it is called
    unmatched: tuple[str, ...]
    kinds: Mapping[str, int]  # unsupported kind -> how many keys say so

    @property
    def beyond(self) -> str:
        """Say in parentheses what the file holds that is not read, where there is any."""
        unknown = {"of no known format": len(self.unmatched)} if self.unmatched else {}
        counts = [*sorted(self.kinds.items()), *unknown.items()]
        told = ", ".join(f"{kind}: {count} keys" for kind, count in counts)
        return f" ({told})" if told else ""


def parse_keys(keys: Iterable[str]) -> Parsed:
    """Sort a file's keys; raises BadFile where several families are mixed.

    A file in which no key looks like an adapter's of any kind is a plain state dict: `dense`.
    """
    names = list(keys)
    parts = {key: part for key in names if (part := _part(key)) is not None}
    kinds = {
        key: kind for key in names if key not in parts and (kind := _unsupported(key)) is not None
    }
    unsupported = dict(kinds.values())
    families = Counter(part.family for part in parts.values() if part.family)
    if not families and not unsupported and not any(map(_ADAPTED.search, names)):
        return Parsed(DENSE, {key: {DENSE: key} for key in names}, {}, (), {})
    if len(families) > 1:
        told = ", ".join(f"{count} {family}" for family, count in families.most_common())
        raise BadFile(f"it mixes families of adapters: {told} keys; needed one family in a file")
    unmatched = tuple(key for key in names if key not in parts and key not in kinds)
    counted = Counter(kind for _, kind in kinds.values())
    return Parsed(next(iter(families), ""), _modules(parts), unsupported, unmatched, counted)


def _modules(parts: Mapping[str, Part]) -> dict[str, dict[str, str]]:
    modules: dict[str, dict[str, str]] = {}
    for key, part in parts.items():
        roles = modules.setdefault(part.stem, {})
        if part.role in roles:
            raise BadFile(
                f"two matrices claim one place: {examples([roles[part.role], key])}; a file needs "
                f"one adapter"
            )
        roles[part.role] = key
    return modules


def _part(key: str) -> Part | None:
    for rule in _RULES:
        found = rule.pattern.fullmatch(key)
        if found:
            return Part(found["stem"], rule.role(found["half"]), rule.family(found["stem"]))
    return None


def _unsupported(key: str) -> tuple[str, str] | None:
    """Return the module's stem and what its kind is called, where wsa does not read it."""
    for kind, pattern in _UNSUPPORTED.items():
        found = pattern.fullmatch(key)
        if found:
            return found["stem"], kind
    return None


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    named: str  # the family; peft's suffixes are diffusers' where the stem names a component
    embedding: bool = False

    def family(self, stem: str) -> str:
        """Return the family of a key with this stem."""
        return DIFFUSERS if self.named == PEFT and _COMPONENT.match(stem) else self.named

    def role(self, half: str) -> str:
        """Return the part that the matched half of a key plays."""
        role = _HALF.get(half, half)
        return f"embedding_{role}" if self.embedding else role


def _rule(pattern: str, family: str, embedding: bool = False) -> _Rule:
    return _Rule(re.compile(rf"(?P<stem>.+{pattern}", re.DOTALL), family, embedding)


_RULES = (
    _rule(r")\.hada_(?P<half>[wt][12](_[ab])?)(\.[^.]+)?", LOHA),
    _rule(r")\.lokr_(?P<half>w[12](_[ab])?|t2)(\.[^.]+)?", LOKR),
    _rule(r")\.lora_(?P<half>down|up|mid)\.weight", KOHYA),
    _rule(r"\.processor\.(qkv|proj)_lora[12]?)\.(?P<half>down|up)\.weight", XLABS),
    _rule(r"(\.processor|\.self_attn)\.to_[a-z]+)_lora\.(?P<half>down|up)\.weight", DIFFUSERS),
    _rule(r")\.(lora|lora_linear_layer)\.(?P<half>down|up)\.weight", DIFFUSERS),
    # an adapter's name may stand between: peft keeps it in memory, and some files do
    _rule(r")\.lora_(?P<half>[AB])(\.(?!weight$)[^.]+)?\.weight", PEFT),
    _rule(r")\.lora_embedding_(?P<half>[AB])(\.[^.]+)?", PEFT, embedding=True),
    _rule(r"?)(\.lora)?\.(?P<half>alpha)", ""),
)
