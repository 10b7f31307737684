"""Config: what an adapter's configuration says of its scale, as peft reads it.

From `adapter_config.json` beside the file, or from the JSON that diffusers puts in the header.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wsa.errors import cause
from wsa.formats.refusal import BadFile, quoted
from wsa.storage import canonical_digest

FILE = "adapter_config.json"
HEADER_KEY = "lora_adapter_metadata"
# peft's kinds that wsa reads, and what each calls its alpha
_ALPHA_NAMES = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}
_PREFIX = "base_model.model."


@dataclass(frozen=True)
class Config:
    """One component's configuration: alpha and rank, and where modules differ from them."""

    settings: Mapping[str, Any]

    def scale(self, module: str, rank: int | None) -> float:
        """Return alpha / r, or alpha / sqrt r for rslora, of a module of the model.

        Raises BadFile where the configuration speaks of another rank than the tensors have.
        """
        said = self._of(module, "rank_pattern", "r", float)
        if rank is not None and said is not None and said != rank:
            raise BadFile(f"{FILE} says rank {said:g} for {quoted(module)}, its tensors {rank}")
        alpha = self._of(module, "alpha_pattern", self._alpha_name, float)
        divisor = rank if rank is not None else said
        if alpha is None or not divisor:
            return 1.0
        return alpha / (math.sqrt(divisor) if self.settings.get("use_rslora") else divisor)

    def refusal(self) -> str | None:
        """Say which kind of adapter this is, where wsa does not read it."""
        kind = str(self.settings.get("peft_type", "LORA")).upper()
        if kind not in _ALPHA_NAMES:
            return kind
        if self.settings.get("use_dora"):
            return "DoRA"
        # one pair of factors for all experts of a parameter: their product is no update of it
        return "LoRA of parameters (target_parameters)" if self._targets_parameters else None

    @property
    def _targets_parameters(self) -> bool:
        return bool(self.settings.get("target_parameters"))

    @property
    def _alpha_name(self) -> str:
        return _ALPHA_NAMES.get(str(self.settings.get("peft_type", "LORA")).upper(), "lora_alpha")

    def _of(self, module: str, pattern: str, default: str, kind: type[float]) -> float | None:
        patterns = self.settings.get(pattern) or {}
        value = self.settings.get(default)
        for each, special in patterns.items():
            # as peft's get_pattern_key: the first that matches the end of the name, a whole word
            if re.match(rf"(.*\.)?({each})$", module):
                value = special
                break
        return None if value is None else kind(value)


@dataclass(frozen=True)
class Configs:
    """The configurations of a file: one for all of it (`""`), or one for each component."""

    components: Mapping[str, Config]

    @cached_property
    def digest(self) -> str:
        """Return a digest of everything said."""
        return canonical_digest({name: each.settings for name, each in self.components.items()})

    def of(self, stem: str) -> tuple[Config, str] | None:
        """Return the configuration for a stored stem, and the module's name as it knows it."""
        component, _, rest = stem.partition(".")
        if component in self.components:
            return self.components[component], rest
        if "" in self.components:
            return self.components[""], stem.removeprefix(_PREFIX)
        return None

    def refusal(self) -> str | None:
        """Say which unsupported kind one of the components is."""
        return next((kind for each in self.components.values() if (kind := each.refusal())), None)


def read_configs(path: Path, metadata: Mapping[str, str]) -> Configs:
    """Return what is known of an adapter file's scale; raises BadFile for what is no JSON."""
    beside = path.with_name(FILE)
    try:
        if beside.is_file():
            return Configs({"": Config(_checked(json.loads(beside.read_bytes()), FILE))})
        if HEADER_KEY in metadata:
            return Configs(_by_component(json.loads(metadata[HEADER_KEY])))
    except (OSError, ValueError, RecursionError) as problem:
        raise BadFile(f"its configuration cannot be read: {cause(problem)}") from problem
    return Configs({})


def _by_component(settings: Any) -> dict[str, Config]:
    """Part `unet.lora_alpha`, `text_encoder.r`, ... by the component before the first dot."""
    parted: dict[str, dict[str, Any]] = {}
    for name, value in _checked(settings, HEADER_KEY).items():
        component, _, setting = name.partition(".")
        parted.setdefault(component if setting else "", {})[setting or name] = value
    return {component: Config(each) for component, each in parted.items()}


def _checked(settings: Any, where: str) -> dict[str, Any]:
    """Return settings whose numbers are numbers and whose patterns can be matched."""
    if not isinstance(settings, dict):
        raise BadFile(f"{where} needs a JSON object, got {type(settings).__name__}")
    for name, value in settings.items():
        last = name.rpartition(".")[2]
        if last in ("r", "lora_alpha", "alpha") and value is not None:
            _need_number(where, name, value)
        if last in ("rank_pattern", "alpha_pattern") and value:
            _need_patterns(where, name, value)
    return settings


def _need_number(where: str, name: str, value: Any) -> None:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not sound or value == 0:
        raise BadFile(f"{where}: {name} needs a number other than 0, got {quoted(str(value))}")


def _need_patterns(where: str, name: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise BadFile(f"{where}: {name} needs numbers by pattern, got {type(value).__name__}")
    for pattern, number in value.items():
        _need_number(where, f"{name} of {quoted(pattern)}", number)
        if not _is_harmless(pattern):
            raise BadFile(f"{where}: {name} has a pattern wsa will not run: {quoted(pattern)}")


def _is_harmless(pattern: str) -> bool:
    """Tell whether a stranger's pattern is one, and cannot take for ever on a module's name.

    Python's matcher backtracks: no repeated group, and three repetitions at most, are 10 ms.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return not re.search(r"\)[*+{]", pattern) and len(re.findall(r"[*+{]", pattern)) <= 3
