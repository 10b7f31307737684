"""Layers: the names of a population's matrices, in natural order, paired into modules by name."""

from __future__ import annotations

import fnmatch
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from wsa.errors import WsaError, unknown

FACTORS, DELTA = "factors", "delta"
VIEWS = (FACTORS, DELTA)

LAYER_SETS = (
    *("all", "visual", "text", "self_attention", "random:<n>", "a glob such as *.attn1.*"),
    *("each-block", "each-module-type", "per-layer"),  # of a layer map
)

# How a stored matrix says which half of a module it is: diffusers, PEFT, Kohya.
_HALVES = {
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
}
# Names are split by dots (diffusers, PEFT) or underscores (Kohya): a word ends at either.
_START, _END = r"(?<![a-z0-9])", r"(?![a-z0-9])"
_TEXT_ENCODER = r"^(lora_)?te\d?_|^text_encoder|text_model[._]encoder|^encoder[._]block[._]"
# Text-facing modules: what reads the prompt, the text stream of joint models, text encoders.
_TEXT = re.compile(
    rf"{_START}(attn2[._]to_[kv]|add_[a-z]+_proj|to_added_qkv|to_add_out|ff_context|norm1_context"
    rf"|context_embedder|text_embedder|double_stream_modulation_txt){_END}"
    rf"|{_START}txt_|{_TEXT_ENCODER}"
)
_SELF_ATTENTION = re.compile(rf"{_START}(attn1|self_attn){_END}")
# the letter of a projection: to_q, q_proj, add_q_proj, SelfAttention.q
_PROJECTION = re.compile(
    rf"((?<=to_)|(?<=SelfAttention[._]))(q|k|v|o|out|add_out){_END}"
    rf"|{_START}(q|k|v|o|out)(?=_proj{_END})"
)
_PROJECTIONS = {"q": "a", "k": "b", "v": "c", "o": "d", "out": "d", "add_out": "e"}


@dataclass(frozen=True)
class Layer:
    """What a representation describes: a stored matrix, or in view `delta` a module's update."""

    name: str  #: `<module>.up`, `<module>.down`, or the module alone
    module: str  #: whose matrix it is
    rows: int
    cols: int


@dataclass(frozen=True)
class Layers:
    """The L layers of one view, in natural order."""

    view: str
    items: tuple[Layer, ...]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Layer:
        return self.items[index]

    @property
    def names(self) -> list[str]:
        """Return the name of every layer."""
        return [layer.name for layer in self.items]

    def select(self, layer_set: str) -> list[int]:
        """Return the indices of a layer set; raises WsaError for an unknown or empty one."""
        chosen = self._random(layer_set) if layer_set.startswith("random:") else None
        if chosen is None:
            chosen = [i for i, layer in enumerate(self.items) if _member(layer, layer_set)]
        if not chosen:
            raise WsaError(
                f"layer set {layer_set!r} selects none of the {len(self)} layers of view "
                f"{self.view!r}; their names look like {self.items[0].name!r}"
            )
        return chosen

    def _random(self, layer_set: str) -> list[int]:
        # random:12/3 is the third further draw of twelve
        count, _, draw = layer_set.removeprefix("random:").partition("/")
        if not (count + draw).isdigit() or not count or not 1 <= int(count) <= len(self):
            raise WsaError(f"random:<n> needs n in 1..{len(self)}, got {layer_set!r}")
        # seeded by its own name: the same control in every run, whatever else is asked for
        return sorted(random.Random(layer_set).sample(range(len(self)), int(count)))

    def sample(self, share: float) -> Layers:
        """Return a share of the layers, whole modules of them, drawn once and for all."""
        if share >= 1:
            return self
        modules = sorted({layer.module for layer in self.items}, key=natural)
        count = max(1, round(share * len(modules)))
        kept = set(random.Random("sample-layers").sample(modules, count))
        return Layers(self.view, tuple(layer for layer in self.items if layer.module in kept))


@dataclass(frozen=True)
class Catalogue:
    """Every matrix a population stores: its source's key, and the pairs that make modules."""

    keys: tuple[str, ...]
    factors: Layers
    pairs: tuple[tuple[int, int], ...]  # (up, down) of module m
    # why stored matrices of different adapters cannot be compared, where they cannot
    unequal: str | None = None

    def layers(self, view: str) -> Layers:
        """Return the layers of a view; raises WsaError where nothing is paired for `delta`."""
        if view == FACTORS:
            if self.unequal:
                raise WsaError(f"view 'factors' needs like matrices; {self.unequal}: --view delta")
            return self.factors
        if view != DELTA:
            raise unknown("view", view, VIEWS)
        if not self.pairs or 2 * len(self.pairs) != len(self.keys):
            alone = len(self.keys) - 2 * len(self.pairs)
            raise WsaError(
                f"view 'delta' needs every matrix paired, up with down; {alone} of "
                f"{len(self.keys)} are dense: use --view factors"
            )
        return Layers(DELTA, tuple(self._delta(up, down) for up, down in self.pairs))

    def _delta(self, up: int, down: int) -> Layer:
        left, right = self.factors[up], self.factors[down]
        return Layer(left.module, left.module, left.rows, right.cols)


def catalogue(shapes: Mapping[str, tuple[int, int]]) -> Catalogue:
    """Order stored matrices naturally and pair them into modules by name, never by position.

    Raises WsaError for an up without its down (or the reverse) and for halves of unequal rank.
    """
    named = {key: split_key(key) for key in shapes}
    keys = sorted(shapes, key=lambda key: (natural(named[key][0]), named[key][1]))
    layers = tuple(_stored(*named[key], *shapes[key]) for key in keys)
    places = {named[key]: index for index, key in enumerate(keys)}
    if len(places) != len(keys):
        raise WsaError(f"two matrices claim one place: {_clash(named)}; keep one of them")
    modules = [module for module, part in map(named.__getitem__, keys) if part == "down"]
    _refuse_lone_halves(named.values())
    pairs = tuple((places[module, "up"], places[module, "down"]) for module in modules)
    for up, down in pairs:
        _refuse_unequal_ranks(layers[up], layers[down])
    return Catalogue(tuple(keys), Layers(FACTORS, layers), pairs)


def split_key(key: str) -> tuple[str, str]:
    """Split a stored matrix's key into its module and its half: down, up, or neither ('')."""
    for suffix, half in _HALVES.items():
        if key.endswith(suffix):
            return key.removesuffix(suffix), half
    return key.removesuffix(".weight"), ""


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Return a sort key: numbers by value, query before key before value before output."""
    ordered = _PROJECTION.sub(lambda match: _PROJECTIONS[match[0]], name)
    return tuple(
        _word(number, other) for number, other in re.findall(r"([0-9]+)|([^0-9]+)", ordered)
    )


def _word(number: str, other: str) -> tuple[bool, int, str]:
    # of two numbers without leading zeros the longer is the larger; none is too long to compare
    digits = number.lstrip("0")
    return bool(number), len(digits), digits or other


def _stored(module: str, half: str, rows: int, cols: int) -> Layer:
    return Layer(f"{module}.{half}" if half else module, module, rows, cols)


def _clash(named: Mapping[str, tuple[str, str]]) -> str:
    seen: dict[tuple[str, str], str] = {}
    for key, place in named.items():
        if place in seen:
            return f"{seen[place]!r} and {key!r}"
        seen[place] = key
    return "none"


def _refuse_lone_halves(places: Iterable[tuple[str, str]]) -> None:
    known = set(places)
    for module, half in sorted(known):
        other = {"up": "down", "down": "up"}.get(half)
        if other and (module, other) not in known:
            raise WsaError(f"{module!r} has {half} without {other}; a module needs both matrices")


def _refuse_unequal_ranks(up: Layer, down: Layer) -> None:
    if up.cols != down.rows:
        raise WsaError(
            f"{up.module!r}: up is {up.rows} x {up.cols} but down is {down.rows} x {down.cols}; "
            f"up's columns and down's rows must be one rank"
        )


def _member(layer: Layer, layer_set: str) -> bool:
    text = bool(_TEXT.search(layer.module))
    match layer_set:
        case "all":
            return True
        case "visual":
            return not text
        case "text":
            return text
        case "self_attention":
            return not text and bool(_SELF_ATTENTION.search(layer.module))
    if not re.search(r"[*?\[.]", layer_set):
        raise unknown("layer set", layer_set, LAYER_SETS)
    return fnmatch.fnmatchcase(layer.name, layer_set) or layer.module == layer_set
