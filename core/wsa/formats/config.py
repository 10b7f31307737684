"""Config: what an adapter's configuration says of its scale, as peft reads it.

From `adapter_config.json` beside the file, or from the JSON that diffusers puts in the header.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any

from wsa.errors import cause
from wsa.formats.refusal import LONGEST_NAME, BadFile, quoted
from wsa.storage import canonical_digest

FILE = "adapter_config.json"
HEADER_KEY = "lora_adapter_metadata"
# peft's kinds that wsa reads, and what each calls its alpha
_ALPHA_NAMES = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}
_PREFIX = "base_model.model."
# A rank for each of 10,000 experts is 2 MB; hostile JSON becomes 25 times its size in memory.
LONGEST_CONFIG = 4 << 20
# Patterns times characters of names: RE2 takes some 2 s for as many.
MOST_MATCHING = 1 << 29
_LARGEST = 1e30
# what Python and RE2 read differently
_DIFFERING = re.compile(r"\{,|\[\[:")


@dataclass(frozen=True)
class Config:
    """One component's configuration: alpha and rank, and where modules differ from them."""

    settings: Mapping[str, Any]

    def resolved(self, modules: Sequence[str]) -> Config:
        """Return the same with the modules a pattern is the first to match in its place."""
        found = {name: _matched(self.settings.get(name) or {}, modules) for name in _PATTERNS}
        return Config({**self.settings, **found})

    def alpha(self, module: str) -> float | None:
        """Return the alpha of a module of the model, None where none is said."""
        return self._of(module, "alpha_pattern", _ALPHA_NAMES.get(self._kind, "lora_alpha"))

    def scale(self, module: str, rank: int | None) -> float:
        """Return alpha / r, or alpha / sqrt r for rslora, of a module of the model.

        Raises BadFile where the configuration speaks of another rank than the tensors have.
        """
        said = self._of(module, "rank_pattern", "r")
        if rank is not None and said is not None and said != rank:
            raise BadFile(f"{FILE} says rank {said:g} for {quoted(module)}, its tensors {rank}")
        alpha = self.alpha(module)
        divisor = rank if rank is not None else said
        if alpha is None or not divisor:
            return 1.0
        return alpha / (math.sqrt(divisor) if self.settings.get("use_rslora") else divisor)

    def refusal(self) -> str | None:
        """Say which kind of adapter this is, where wsa does not read it."""
        if self._kind not in _ALPHA_NAMES:
            return quoted(self._kind)
        if self.settings.get("use_dora"):
            return "DoRA"
        # one pair of factors for all experts of a parameter: their product is no update of it
        targeted = self.settings.get("target_parameters")
        return "LoRA of parameters (target_parameters)" if targeted else None

    @property
    def beside(self) -> list[str]:
        """Name the settings that have more than low-rank updates stored."""
        return [name for name in _BESIDE if self.settings.get(name) not in (None, False, "none")]

    @property
    def _kind(self) -> str:
        return str(self.settings.get("peft_type") or "LORA").upper()

    def _of(self, module: str, pattern: str, default: str) -> float | None:
        value = (self.settings.get(pattern) or {}).get(module, self.settings.get(default))
        return None if value is None else float(value)


@dataclass(frozen=True)
class Configs:
    """The configurations of a file: one for all of it (`""`), or one for each component."""

    components: Mapping[str, Config]

    @cached_property
    def digest(self) -> str:
        """Return a digest of everything said."""
        return canonical_digest({name: each.settings for name, each in self.components.items()})

    def resolved(self, stems: Iterable[str]) -> Configs:
        """Return the same with patterns replaced by the modules among these stems they match."""
        named: dict[str, list[str]] = {component: [] for component in self.components}
        for component, module in filter(None, map(self._named, stems)):
            named[component].append(module)
        return Configs({name: each.resolved(named[name]) for name, each in self.components.items()})

    def of(self, stem: str) -> tuple[Config, str] | None:
        """Return the configuration for a stored stem, and the module's name as it knows it."""
        found = self._named(stem)
        return found and (self.components[found[0]], found[1])

    def _named(self, stem: str) -> tuple[str, str] | None:
        component, _, rest = stem.partition(".")
        if component in self.components:
            return component, rest
        return ("", stem.removeprefix(_PREFIX)) if "" in self.components else None

    @property
    def beside(self) -> list[str]:
        """Name the settings that have more than low-rank updates stored."""
        return sorted({name for each in self.components.values() for name in each.beside})

    def refusal(self) -> str | None:
        """Say which unsupported kind one of the components is."""
        return next((kind for each in self.components.values() if (kind := each.refusal())), None)


def read_configs(path: Path, metadata: Mapping[str, str]) -> Configs:
    """Return what is known of an adapter file's scale; raises BadFile for what is no JSON."""
    beside = path.with_name(FILE)
    try:
        if beside.is_file():
            return Configs({"": _config(_settings(_text(beside), FILE), FILE)})
        if HEADER_KEY in metadata:
            return Configs(_by_component(_settings(metadata[HEADER_KEY], HEADER_KEY)))
    except (OSError, ValueError, RecursionError) as problem:
        raise BadFile(f"its configuration cannot be read: {cause(problem)}") from problem
    return Configs({})


def _text(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(LONGEST_CONFIG + 1)
    if len(text) > LONGEST_CONFIG:
        raise BadFile(f"{FILE} has more than {LONGEST_CONFIG} bytes")
    return text


def _settings(text: str | bytes, where: str) -> dict[str, Any]:
    settings = json.loads(text)
    if not isinstance(settings, dict):
        raise BadFile(f"{where} needs a JSON object, got {type(settings).__name__}")
    return settings


def _by_component(settings: Mapping[str, Any]) -> dict[str, Config]:
    """Part `unet.lora_alpha`, `text_encoder.r`, ... by the component before the first dot."""
    parted: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        component, _, setting = name.partition(".")
        parted.setdefault(component if setting else "", {})[setting or name] = value
    return {component: _config(each, HEADER_KEY) for component, each in parted.items()}


def _config(settings: Mapping[str, Any], where: str) -> Config:
    """Keep what tells the scale and the kind, each proved to be of its type."""
    kept = {name: settings[name] for name in _CHECKS if settings.get(name) is not None}
    kind = Config(kept)
    if kind.refusal():
        return kind
    for name, value in kept.items():
        _CHECKS[name](where, name, value)
    return Config(kept)


def _need(sound: bool, where: str, name: str, needed: str, value: Any) -> None:
    if not sound:
        raise BadFile(f"{where}: {name} needs {needed}, got {quoted(repr(value)[:LONGEST_NAME])}")


def _need_number(where: str, name: str, value: Any) -> None:
    sound = type(value) in (int, float) and 0 < abs(value) < _LARGEST
    _need(sound, where, name, "a number other than 0", value)


def _need_flag(where: str, name: str, value: Any) -> None:
    _need(isinstance(value, bool), where, name, "true or false", value)


def _need_text(where: str, name: str, value: Any) -> None:
    _need(isinstance(value, str), where, name, "a text", value)


def _need_patterns(where: str, name: str, value: Any) -> None:
    _need(isinstance(value, dict), where, name, "numbers by pattern", value)
    for pattern, number in value.items():
        _need_number(where, f"{name} of {quoted(pattern)}", number)


def _anything(where: str, name: str, value: Any) -> None:
    """Take a setting that is only asked whether it is there."""


_PATTERNS = ("rank_pattern", "alpha_pattern")
_BESIDE = ("bias", "lora_bias", "modules_to_save", "trainable_token_indices")
_CHECKS: dict[str, Callable[[str, str, Any], None]] = {
    **dict.fromkeys(("r", "lora_alpha", "alpha"), _need_number),
    **dict.fromkeys(_PATTERNS, _need_patterns),
    **dict.fromkeys(("use_rslora", "use_dora"), _need_flag),
    **dict.fromkeys((*_BESIDE, "target_parameters"), _anything),
    "peft_type": _need_text,
}


def _matched(patterns: Mapping[str, float], modules: Sequence[str]) -> dict[str, float]:
    """Return what the patterns say of modules: peft takes the first that matches a name's end.

    Run by RE2, which takes linear time whatever a stranger's pattern says; Python's matcher may
    take for ever. What the two would read differently is refused.
    """
    import pyarrow as pa
    from pyarrow import compute

    if len(patterns) * sum(map(len, modules)) > MOST_MATCHING:
        raise BadFile(f"{FILE} has {len(patterns)} patterns for {len(modules)} modules: too many")
    found: dict[str, float] = {}
    names = pa.array(modules, pa.string())
    for pattern, value in reversed(list(patterns.items())):
        try:
            re.compile(pattern)
            matches = compute.match_substring_regex(names, rf"^(.*\.)?({pattern})$")
        except (re.error, ValueError, RecursionError, OverflowError) as problem:
            told = f"{FILE} has a pattern wsa cannot run: {quoted(pattern)}"
            raise BadFile(f"{told} ({cause(problem)})") from problem
        if _DIFFERING.search(pattern):
            raise BadFile(f"{FILE} has a pattern that can be read in two ways: {quoted(pattern)}")
        found |= dict.fromkeys(compress(modules, matches.to_pylist()), value)
    return found
