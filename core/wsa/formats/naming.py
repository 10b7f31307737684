"""Naming: one canonical name for a module, whoever stored its update."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

from wsa.formats import flux, stable_diffusion_3, wan
from wsa.formats.grammar import Grammar, Place, Shape, UnknownModule
from wsa.formats.stable_diffusion import BLOCKS, UNET
from wsa.formats.text_models import CLIP, CLIP_INSIDE, LANGUAGE_MODEL, T5

__all__ = ["FAMILIES", "Place", "UnknownModule", "places"]

FAMILIES = ("peft", "diffusers", "diffusers_old", "kohya", "xlabs", "dense")

Reader = Callable[[str, Shape], "str | None"]


def _read(component: str, grammars: Iterable[Grammar], name: str, shape: Shape) -> str | None:
    found = next((name for name in (grammar.find(name) for grammar in grammars) if name), None)
    return found and f"{component}{found}"


def _reader(component: str, *grammars: Grammar) -> Reader:
    return partial(_read, component, grammars)


_UNET = _reader("unet.", UNET)
_ENCODER = _reader("text_encoder.", CLIP, CLIP_INSIDE, T5)
_SECOND_ENCODER = _reader("text_encoder_2.", CLIP, CLIP_INSIDE, T5)
# sd-scripts calls the T5 of FLUX the third encoder, diffusers the second
_T5 = _reader("text_encoder_2.", T5)
_PLAIN = _reader("text_encoder.", CLIP)
_TRANSFORMERS: tuple[Reader, ...] = (flux.find, stable_diffusion_3.find, wan.find)

# names joined by underscores: known to a grammar, or refused
_JOINED: dict[str, tuple[Reader, ...]] = {
    "lora_unet_": (_UNET, *_TRANSFORMERS),
    "lora_transformer_": _TRANSFORMERS,
    "lora_te_": (_ENCODER,),
    "lora_te1_": (_ENCODER,),
    "lora_te2_": (_SECOND_ENCODER,),
    "lora_te3_": (_T5,),
    "lycoris_": (_UNET, *_TRANSFORMERS, _PLAIN, _reader("", T5, LANGUAGE_MODEL)),
}
# dotted names say where they are; a grammar translates those that are not canonical
_DOTTED: dict[str, tuple[Reader, ...]] = {
    "model.diffusion_model.": (_UNET, *_TRANSFORMERS),
    "diffusion_model.": (_UNET, *_TRANSFORMERS),
    "unet.": (_UNET,),
    "transformer.": _TRANSFORMERS,
    "text_encoder.": (_ENCODER,),
    "text_encoder_2.": (_SECOND_ENCODER,),
    "text_encoders.clip_l.transformer.": (_ENCODER,),
    "text_encoders.clip_g.transformer.": (_SECOND_ENCODER,),
    "text_encoders.t5xxl.transformer.": (_T5,),
    "": (
        _reader("unet.", BLOCKS),
        flux.find,
        stable_diffusion_3.find,
        wan.find_block,
        _PLAIN,
    ),
}
_COMPONENTS = {
    "down_blocks.": "unet.",
    "mid_block.": "unet.",
    "up_blocks.": "unet.",
    "transformer_blocks.": "transformer.",
    "single_transformer_blocks.": "transformer.",
    "text_model.": "text_encoder.",
}
# blocks that diffusers calls otherwise: left as they are, one module would have two names
_FOREIGN = re.compile(r"(^|\.)((input|output|double|single|joint)_blocks|middle_block)\.")
_DOTTED_NAME = re.compile(r"[^\s.]+(\.[^\s.]+)*")


@lru_cache(maxsize=1 << 16)
def places(stem: str, family: str, shape: Shape, split_fused: bool = True) -> tuple[Place, ...]:
    """Return the modules that a stored stem updates; raises UnknownModule."""
    if family == "dense":
        module: str | None = stem.removesuffix(".weight")
    else:
        module = _module(_present(stem, family), family, shape)
    if not module:
        raise UnknownModule(stem)
    if family == "dense" or not module.startswith("transformer."):
        return (Place(module),)
    return flux.parts(stem, module, shape) if split_fused else (flux.in_order(stem, module, shape),)


def _present(stem: str, family: str) -> str:
    """Return a stem without what only its container added."""
    stem = stem.removeprefix("base_model.model.")
    if family not in ("diffusers", "diffusers_old"):
        return stem
    stem = stem.replace(".processor.", ".")
    stem = re.sub(r"\.(attn[12])\.to_out$", r".\1.to_out.0", stem)
    return re.sub(r"\.self_attn\.to_(q|k|v|out)$", r".self_attn.\1_proj", stem)


def _module(stem: str, family: str, shape: Shape) -> str | None:
    for prefix, readers in _JOINED.items():
        if stem.startswith(prefix):
            return _first(readers, stem.removeprefix(prefix), shape)
    for prefix, readers in _DOTTED.items():
        if stem.startswith(prefix):
            found = _first(readers, stem.removeprefix(prefix), shape)
            return found or _as_it_is(stem, family)
    return None


def _first(readers: Iterable[Reader], name: str, shape: Shape) -> str | None:
    return next((found for found in (read(name, shape) for read in readers) if found), None)


def _as_it_is(stem: str, family: str) -> str | None:
    if _FOREIGN.search(stem) or not _DOTTED_NAME.fullmatch(stem):
        return None
    # one word may be many, joined; only these two families never join
    if "." not in stem and family not in ("peft", "diffusers"):
        return None
    component = next((c for start, c in _COMPONENTS.items() if stem.startswith(start)), "")
    return component + stem
