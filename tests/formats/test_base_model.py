from __future__ import annotations

import re

import pytest

from wsa.formats.base_model import Guess, base_model

Modules = dict[str, tuple[int, int]]

PLACE = "down_blocks.1.attentions.0.transformer_blocks.{k}"
DOUBLE, SINGLE = "transformer.transformer_blocks.{k}", "transformer.single_transformer_blocks.{k}"


def unet(tail: str, shape: tuple[int, int], k: int = 0) -> Modules:
    return {f"unet.{PLACE.format(k=k)}.{tail}": shape}


def blocks(stack: str, tail: str, shape: tuple[int, int], count: int) -> Modules:
    return {f"{stack.format(k=k)}.{tail}": shape for k in range(count)}


CLIP = "text_model.encoder.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("modules", "name", "reason"),
    [
        (unet("attn2.to_k", (640, 768)), "SD-1.5", "attn2 reads a prompt of width 768"),
        (unet("attn2.to_v", (640, 1024)), "SD-2", "width 1024"),
        (unet("attn2.to_v", (640, 1280)), "SDXL refiner", "width 1280"),
        (unet("attn2.to_k", (640, 2048)), "SDXL", "width 2048"),
        (unet("attn2.to_k", (640, 77)), "unknown", "width 77"),
        (unet("attn1.to_q", (640, 640), k=1), "SDXL", "transformer_blocks.1.attn1.to_q"),
        (unet("attn1.to_q", (768, 768), k=1), "SDXL refiner", "transformer_blocks.1"),
        (unet("attn1.to_q", (640, 640)), "unknown", "none of its 1 modules reads the prompt"),
        (
            unet("attn1.to_q", (640, 640)) | {f"text_encoder_2.{CLIP}": (1280, 1280)},
            "SDXL",
            "has width 1280",
        ),
        ({f"text_encoder.{CLIP}": (1024, 1024)}, "SD-2", "has width 1024"),
        ({f"text_encoder.{CLIP}": (768, 768)}, "unknown", "several models share them"),
        (blocks(DOUBLE, "attn.to_q", (1536, 1536), 24), "SD-3", "width 1536 and 'transformer."),
        (
            blocks(DOUBLE, "attn2.to_k", (1536, 1536), 3),
            "unknown transformer (hidden 1536, 3 layers)",
            "no FLUX has",
        ),
        (
            blocks(DOUBLE, "attn2.to_k", (1536, 1536), 3)
            | blocks(DOUBLE, "attn.add_k_proj", (1536, 1536), 3),
            "SD-3.5 medium",
            "attn2.to_k",
        ),
        (blocks(DOUBLE, "attn.to_v", (2432, 2432), 38), "SD-3.5 large", "width 2432"),
        (blocks("transformer.blocks.{k}", "attn1.to_q", (5120, 5120), 40), "Wan 14B", "5120"),
        (
            blocks("transformer.blocks.{k}", "attn1.to_q", (64, 64), 4),
            "unknown transformer (hidden 64, 4 layers)",
            "blocks transformer.blocks.0 to",
        ),
        (blocks(DOUBLE, "attn.to_q", (3072, 3072), 19), "FLUX.1", "19 double blocks"),
        (blocks(SINGLE, "proj_mlp", (12288, 3072), 1), "FLUX.1", "0.proj_mlp"),
        (blocks(SINGLE, "attn.to_qkv_mlp_proj", (21504, 3072), 1), "FLUX.1", "to_qkv_mlp_proj"),
        (blocks(DOUBLE, "attn.to_q", (3072, 3072), 5), "unknown", "FLUX.2 Klein 4B's"),
        (blocks(DOUBLE, "ff.linear_in", (18432, 3072), 5), "FLUX.2 Klein 4B", "linear_in"),
        (
            blocks(SINGLE, "attn.to_qkv_mlp_proj", (36864, 4096), 24),
            "FLUX.2 Klein 9B",
            "width 4096",
        ),
        (blocks(SINGLE, "attn.to_out", (6144, 24576), 1), "FLUX.2 dev", "width 6144"),
        (
            blocks(DOUBLE, "attn.to_q", (3072, 3072), 9) | blocks(SINGLE, "norm", (8, 8), 4),
            "FLUX.1",
            "9 double blocks; FLUX.2 has 8",
        ),
        (
            blocks(DOUBLE, "attn.to_q", (3072, 3072), 60),
            "unknown transformer (hidden 3072, 60 layers)",
            "no FLUX has width 3072 and 60 blocks",
        ),
        (
            blocks(DOUBLE, "ff.net.0.proj", (6144, 1536), 24),
            "unknown transformer (hidden 1536, 24 layers)",
            "no FLUX has width 1536",
        ),
        (
            blocks("model.layers.{k}", "self_attn.q_proj", (4096, 4096), 32)
            | blocks("model.layers.{k}", "mlp.down_proj", (4096, 11008), 32),
            "unknown transformer (hidden 4096, 32 layers)",
            "blocks model.layers.0 to model.layers.31",
        ),
        ({"0": (4, 3), "2": (2, 4)}, "plain network", "2 modules"),
        ({}, "unknown", "no modules"),
    ],
)
def test_names_and_shapes_tell_the_base_model(modules: Modules, name: str, reason: str) -> None:
    guess = base_model(modules, {})
    assert guess.name == name
    assert re.search(re.escape(reason), guess.reason), guess.reason


@pytest.mark.parametrize(
    ("field", "value", "verdict"),
    [
        ("ss_base_model_version", "sd_v1", "confirmed"),
        ("modelspec.architecture", "stable-diffusion-v1/lora", "confirmed"),
        ("ss_base_model_version", "sdxl_base_v1-0", "contradicted"),
        ("modelspec.architecture", "flux-1-dev/lora", "contradicted"),
    ],
)
def test_a_header_confirms_or_contradicts_but_never_decides(
    field: str, value: str, verdict: str
) -> None:
    guess = base_model(unet("attn2.to_k", (640, 768)), {field: value})
    assert guess == Guess(
        "SD-1.5", f"attn2 reads a prompt of width 768; {verdict} by {field} {value!r}"
    )


def test_a_header_names_what_nothing_else_decides() -> None:
    guess = base_model(unet("attn1.to_q", (640, 640)), {"ss_base_model_version": "sd_v2_768_v"})
    assert guess.name == "SD-2"
    assert guess.reason.startswith("only the header says so: ss_base_model_version 'sd_v2_768_v';")


def test_a_header_that_says_nothing_known_is_left_out() -> None:
    modules = unet("attn2.to_k", (640, 2048))
    assert base_model(modules, {"ss_base_model_version": "mine"}) == base_model(modules, {})
    confirmed = base_model(
        blocks(DOUBLE, "ff.linear_in", (18432, 3072), 5), {"modelspec.architecture": "flux-2-klein"}
    )
    assert "confirmed" in confirmed.reason
