from __future__ import annotations

import re
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsa.formats import flux
from wsa.formats.grammar import Grammar
from wsa.formats.naming import FAMILIES, Place, UnknownModule, places
from wsa.formats.stable_diffusion import UNET
from wsa.formats.text_models import CLIP, CLIP_INSIDE, LANGUAGE_MODEL, T5

SQUARE = (8, 8)
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


@pytest.mark.parametrize(
    ("family", "stem", "module"),
    [
        ("diffusers", f"unet.{ATTENTION}.to_q", f"unet.{ATTENTION}.to_q"),
        ("diffusers", f"{ATTENTION}.to_q", f"unet.{ATTENTION}.to_q"),
        ("diffusers_old", f"unet.{ATTENTION}.processor.to_q", f"unet.{ATTENTION}.to_q"),
        ("diffusers_old", f"{ATTENTION}.processor.to_out", f"unet.{ATTENTION}.to_out.0"),
        ("peft", f"base_model.model.{ATTENTION}.to_out.0", f"unet.{ATTENTION}.to_out.0"),
        ("peft", f"base_model.model.unet.{ATTENTION}.to_k", f"unet.{ATTENTION}.to_k"),
        ("peft", "mid_block.resnets.0.conv1", "unet.mid_block.resnets.0.conv1"),
        (
            "peft",
            "up_blocks.0.motion_modules.0.proj_in",
            "unet.up_blocks.0.motion_modules.0.proj_in",
        ),
        (
            "peft",
            "diffusion_model.input_blocks.1.1.proj_in",
            "unet.down_blocks.0.attentions.0.proj_in",
        ),
        ("peft", "model.diffusion_model.out.2", "unet.conv_out"),
        ("peft", "transformer_blocks.0.attn1.to_q", "transformer.transformer_blocks.0.attn1.to_q"),
        ("peft", "diffusion_model.img_in", "transformer.x_embedder"),
        ("peft", "diffusion_model.blocks.0.self_attn.q", "transformer.blocks.0.attn1.to_q"),
        ("peft", "diffusion_model.layers.0.self_attn.q", "diffusion_model.layers.0.self_attn.q"),
        ("peft", "base_model.model.model.layers.0.mlp.up_proj", "model.layers.0.mlp.up_proj"),
        ("peft", "base_model.model.transformer.h.0.attn.c_attn", "transformer.h.0.attn.c_attn"),
        ("peft", "base_model.model.classifier", "classifier"),
        ("peft", "base_model.model.out.2", "out.2"),
        (
            "diffusers_old",
            "text_encoder.text_model.encoder.layers.0.self_attn.to_out",
            "text_encoder.text_model.encoder.layers.0.self_attn.out_proj",
        ),
        (
            "peft",
            "base_model.model.text_model.encoder.layers.1.mlp.fc1",
            "text_encoder.text_model.encoder.layers.1.mlp.fc1",
        ),
        (
            "kohya",
            "text_encoders.clip_g.transformer.text_model.encoder.layers.1.mlp.fc1",
            "text_encoder_2.text_model.encoder.layers.1.mlp.fc1",
        ),
        ("dense", "layer1.0.conv.weight", "layer1.0.conv"),
        ("dense", "layer1.0.conv.bias", "layer1.0.conv.bias"),
    ],
)
def test_a_module_has_one_name_whoever_stored_it(family: str, stem: str, module: str) -> None:
    assert places(stem, family, SQUARE) == (Place(module),)


GRAMMARS = {
    "unet": UNET,
    "flux, both": flux._BOTH,
    "flux, diffusers": flux._DIFFUSERS,
    "clip": CLIP,
    "clip, inside": CLIP_INSIDE,
    "t5": T5,
    "language model": LANGUAGE_MODEL,
}


def spellings(grammar: Grammar) -> dict[str, str]:
    both = [(name, canonical) for name, canonical in grammar.rules.items()]
    both += [(name.replace(".", "_"), canonical) for name, canonical in both]
    found: dict[str, str] = {}
    for name, canonical in both:
        assert found.setdefault(name, canonical) == canonical
    return found


@pytest.mark.parametrize("name", GRAMMARS)
def test_no_grammar_reads_one_spelling_in_two_ways(name: str) -> None:
    assert spellings(GRAMMARS[name])


@pytest.mark.parametrize(("one", "other"), list(combinations(GRAMMARS, 2)), ids=" / ".join)
def test_no_two_grammars_know_one_spelling(one: str, other: str) -> None:
    first, second = spellings(GRAMMARS[one]), spellings(GRAMMARS[other])
    for spelling in first.keys() & second.keys():
        assert first[spelling] == second[spelling]


RULES = [
    (prefix, component, name, canonical)
    for prefix, component, grammar in (
        ("lora_unet_", "unet.", UNET),
        ("lora_transformer_", "transformer.", flux._DIFFUSERS),
        ("lora_te2_", "text_encoder_2.", CLIP),
        ("lora_te3_", "text_encoder_2.", T5),
    )
    for name, canonical in grammar.rules.items()
]


@settings(deadline=None)
@given(st.sampled_from(RULES), st.lists(st.integers(0, 10**6), min_size=3, max_size=3))
def test_any_block_number_survives_the_underscores(
    rule: tuple[str, str, str, str], numbers: list[int]
) -> None:
    prefix, component, name, canonical = rule
    for number in numbers:
        name, canonical = (text.replace("#", str(number), 1) for text in (name, canonical))
    stem = prefix + name.replace(".", "_")
    (place,) = places(stem, "kohya", SQUARE, split_fused=False)
    assert place.module == component + canonical
    # a canonical name is its own
    assert places(place.module, "diffusers", SQUARE, split_fused=False) == (Place(place.module),)


@settings(deadline=None)
@given(
    st.text(max_size=300), st.sampled_from(FAMILIES), st.sampled_from(["", "lora_unet_", "unet."])
)
def test_any_text_is_named_or_refused(text: str, family: str, prefix: str) -> None:
    try:
        found = places(prefix + text, family, SQUARE)
    except UnknownModule as problem:
        assert len(str(problem).splitlines()) == 1
    else:
        assert all(place.module for place in found)


@settings(deadline=None)
@given(st.from_regex(re.compile(r"lora_unet_[a-z0-9_]{0,60}", re.ASCII), fullmatch=True))
def test_joined_words_are_never_split_by_chance(stem: str) -> None:
    try:
        found = places(stem, "kohya", SQUARE)
    except UnknownModule:
        return
    for place in found:
        component, _, name = place.module.partition(".")
        assert component in ("unet", "transformer")
        assert UNET.find(name) == name or flux.find(name, SQUARE) == place.module
