"""Base model: which one a set of modules belongs to, with the reason for the guess."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Modules = Mapping[str, tuple[int, int]]  # canonical name -> (out, in)

UNKNOWN = "unknown"

# width of the prompt that `attn2` reads
_PROMPT_WIDTHS = {768: "SD-1.5", 1024: "SD-2", 1280: "SDXL refiner", 2048: "SDXL"}
# hidden width -> model, where every block has FLUX.2's shapes
_SECOND_WIDTHS = {3072: "FLUX.2 Klein 4B", 4096: "FLUX.2 Klein 9B", 6144: "FLUX.2 dev"}
_FLUX_WIDTH, _FLUX_BLOCKS, _SECOND_BLOCKS = 3072, 19, 8
# hidden width -> model, where joint blocks are all there is; 3.5 large is the wider one
_THIRD_WIDTHS = {1536: "SD-3", 2432: "SD-3.5 large"}
_WAN_WIDTHS = {1536: "Wan 2.1 1.3B", 3072: "Wan 2.2 5B", 5120: "Wan 14B"}
# of the second text encoder of SDXL, and of the only one of SD-2
_ENCODER_WIDTHS = {("text_encoder_2", 1280): "SDXL", ("text_encoder", 1024): "SD-2"}

_FIRST_MARKS = re.compile(
    r"\.proj_mlp$|\.ff(_context)?\.net\.|\.norm1(_context)?\.linear$|time_text_embed\."
    r"|single_transformer_blocks\.\d+\.(attn\.to_(q|k|v|qkv)|norm\.linear|proj_out)$"
)
_SECOND_MARKS = re.compile(
    r"\.ff(_context)?\.linear_(in|out)$|stream_modulation|time_guidance_embed\."
    r"|single_transformer_blocks\.\d+\.attn\.to_out$"
)
_JOINT = re.compile(r"^transformer\.(single_)?transformer_blocks\.\d+\.")
_WAN = re.compile(r"^transformer\.blocks\.\d+\.attn[12]\.to_(q|k|v|out\.0)$")
# modules that read the hidden state of their block
_HIDDEN = re.compile(
    r"\.(to_q|to_qkv|q_proj|query|query_key_value|c_attn|q|gate_proj|up_proj|fc1|c_fc)$"
)
_PATH = re.compile(r"^(.*?)\.([0-9]{1,9})\.")

# what headers call a model, matched at the start
_HEADER_FIELDS = ("modelspec.architecture", "ss_base_model_version")
_HEADER_NAMES = {
    "SD-1.5": r"sd_v1|stable-diffusion-v1",
    "SD-2": r"sd_v2|stable-diffusion-v2",
    "SDXL refiner": r"stable-diffusion-xl-v1-refiner",
    "SDXL": r"sdxl|stable-diffusion-xl",
    "SD-3": r"sd3|stable-diffusion-3|stable-diffusion-v3",
    "FLUX.2": r"flux-?\.?2",
    "FLUX.1": r"flux",
}


_VAGUE = ("FLUX.2", "SD-3")


@dataclass(frozen=True)
class Guess:
    """A base model, or `unknown`, and why."""

    name: str
    reason: str


def base_model(modules: Modules, metadata: Mapping[str, str]) -> Guess:
    """Guess the base model from names, shapes and what the header says of itself."""
    seen = (read(modules) for read in _READERS)
    guess = next(found for found in seen if found)
    return _weighed(guess, _declared(metadata))


def _unet(modules: Modules) -> Guess | None:
    inside = {name: shape for name, shape in modules.items() if name.startswith("unet.")}
    if not inside:
        return None
    return _prompt(inside) or _depth(inside) or _encoder(modules) or _undecided(inside)


def _prompt(unet: Modules) -> Guess | None:
    widths = {shape[1] for name, shape in unet.items() if re.search(r"attn2\.to_[kv]$", name)}
    if not widths:
        return None
    width = min(widths)
    name = _PROMPT_WIDTHS.get(width, UNKNOWN) if len(widths) == 1 else UNKNOWN
    return Guess(name, f"attn2 reads a prompt of width {_listed(widths)}")


def _depth(unet: Modules) -> Guess | None:
    deep = [name for name in unet if re.search(r"transformer_blocks\.[1-9]\d*\.", name)]
    if not deep:
        return None
    widest = max(min(unet[name]) for name in deep)
    # the refiner is the only other UNet so deep; its widths are 768 and 1536
    return Guess("SDXL refiner" if widest % 768 == 0 else "SDXL", f"it has {deep[0]!r}")


def _encoder(modules: Modules) -> Guess | None:
    for name, shape in modules.items():
        model = _ENCODER_WIDTHS.get((name.split(".")[0], shape[1]))
        if model and name.endswith("_proj"):
            return Guess(model, f"{name!r} has width {shape[1]}")
    return None


def _undecided(unet: Modules) -> Guess:
    return Guess(UNKNOWN, f"a UNet, but none of its {len(unet)} modules reads the prompt")


def _flux(modules: Modules) -> Guess | None:
    blocks = {name: shape for name, shape in modules.items() if _JOINT.match(name)}
    if not blocks:
        return None
    width = _hidden(blocks)
    first, second = _marked(modules, _FIRST_MARKS, 7), _marked(modules, _SECOND_MARKS, 9)
    if second and not first and width in _SECOND_WIDTHS:
        return Guess(_SECOND_WIDTHS[width], f"width {width} and {second[0]!r}")
    double = _count(modules, "transformer.transformer_blocks")
    if width != _FLUX_WIDTH or second or double > _FLUX_BLOCKS:
        depth = double + _count(modules, "transformer.single_transformer_blocks")
        return Guess(_transformer(width, depth), f"no FLUX has width {width} and {depth} blocks")
    return _first(first, double)


def _third(modules: Modules) -> Guess | None:
    """Recognise SD-3 by its width, where blocks attend jointly (`attn`) and none is single."""
    blocks = {name: shape for name, shape in modules.items() if _JOINT.match(name)}
    alone = any(".single_" in name or ".attn1." in name for name in blocks)
    joint = next((name for name in blocks if ".attn." in name), None)
    if alone or joint is None or (width := _hidden(blocks)) not in _THIRD_WIDTHS:
        return None
    dual = next((name for name in blocks if ".attn2." in name), None)
    if dual:
        return Guess("SD-3.5 medium", f"width {width} and {dual!r}")
    return Guess(_THIRD_WIDTHS[width], f"width {width} and {joint!r}")


def _wan(modules: Modules) -> Guess | None:
    blocks = {name: shape for name, shape in modules.items() if _WAN.match(name)}
    if not blocks or (width := _hidden(blocks)) not in _WAN_WIDTHS:
        return None
    return Guess(_WAN_WIDTHS[width], f"width {width} and {next(iter(blocks))!r}")


def _marked(modules: Modules, marks: re.Pattern[str], ratio: int) -> list[str]:
    """Return the modules that only one FLUX has, by name or by the height of the fused one."""
    return [
        name
        for name, (rows, cols) in modules.items()
        if marks.search(name) or (name.endswith(".to_qkv_mlp_proj") and rows == ratio * cols)
    ]


def _first(marks: list[str], blocks: int) -> Guess:
    width = f"width {_FLUX_WIDTH}"
    if marks:
        return Guess("FLUX.1", f"{width} and {marks[0]!r}")
    if blocks > _SECOND_BLOCKS:
        return Guess("FLUX.1", f"{width} and {blocks} double blocks; FLUX.2 has {_SECOND_BLOCKS}")
    return Guess(UNKNOWN, f"{width} and {blocks} double blocks are FLUX.1's and FLUX.2 Klein 4B's")


def _text_encoder(modules: Modules) -> Guess | None:
    if not all(name.startswith("text_encoder") for name in modules) or not modules:
        return None
    return _encoder(modules) or Guess(UNKNOWN, "text encoders only; several models share them")


def _any_transformer(modules: Modules) -> Guess | None:
    stacks = [match[1] for match in map(_PATH.match, modules) if match]
    if not stacks or not any(_HIDDEN.search(name) for name in modules):
        return None
    stack = max(sorted(set(stacks)), key=stacks.count)
    depth = _count(modules, stack)
    return Guess(_transformer(_hidden(modules), depth), f"blocks {stack}.0 to {stack}.{depth - 1}")


def _plain(modules: Modules) -> Guess:
    if not modules:
        return Guess(UNKNOWN, "no modules")
    return Guess("plain network", f"{len(modules)} modules, none in a block of a known model")


_READERS: tuple[Callable[[Modules], Guess | None], ...] = (
    _unet,
    _third,
    _flux,
    _wan,
    _text_encoder,
    _any_transformer,
    _plain,
)


def _declared(metadata: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the model that the header names, and the words it does so in."""
    for field in _HEADER_FIELDS:
        value = str(metadata.get(field, ""))
        for name, pattern in _HEADER_NAMES.items():
            if re.match(pattern, value.lower()):
                return name, f"{field} {value!r}"
    return None


def _weighed(guess: Guess, declared: tuple[str, str] | None) -> Guess:
    if declared is None:
        return guess
    name, words = declared
    if guess.name == UNKNOWN:
        return Guess(name, f"only the header says so: {words}; {guess.reason}")
    # no header says which FLUX.2, and few which SD-3
    agrees = guess.name == name or (name in _VAGUE and guess.name.startswith(name))
    verdict = "confirmed" if agrees else "contradicted"
    return Guess(guess.name, f"{guess.reason}; {verdict} by {words}")


def _transformer(width: int, depth: int) -> str:
    return f"unknown transformer (hidden {width}, {depth} layers)"


def _hidden(modules: Modules) -> int:
    """Return the width that most modules read; without any that must, their narrower side."""
    direct = [shape[1] for name, shape in modules.items() if _HIDDEN.search(name)]
    widths = direct or [min(shape) for shape in modules.values()]
    return max(sorted(set(widths)), key=widths.count)


def _count(modules: Iterable[str], stack: str) -> int:
    numbers = re.compile(rf"{re.escape(stack)}\.([0-9]{{1,9}})\.")
    return 1 + max((int(match[1]) for match in map(numbers.match, modules) if match), default=-1)


def _listed(widths: Iterable[int]) -> str:
    return " and ".join(map(str, sorted(widths)))
