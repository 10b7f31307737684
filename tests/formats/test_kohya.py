from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as oracle

from wsa.formats.naming import UnknownModule, places

Modules = dict[str, tuple[int, int]]

LAYERS_PER_BLOCK = 2
ORIGINAL_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "time_emb_proj": "emb_layers.1",
}
ORIGINAL_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def joined(prefix: str, name: str) -> str:
    """Spell a module as sd-scripts does."""
    return prefix + name.partition(".")[2].replace(".", "_")


def named(stem: str, shape: tuple[int, int]) -> str:
    (place,) = places(stem, "kohya", shape)
    assert place.rows is None
    return place.module


def halves(stem: str) -> dict[str, torch.Tensor]:
    return {f"{stem}.lora_{half}.weight": torch.zeros(1, 1) for half in ("down", "up")}


def read_by_diffusers(stem: str, family: str = "diffusers_old") -> str:
    """Let diffusers translate a stem, then undo its words for attention processors."""
    state = oracle._maybe_map_sgm_blocks_to_diffusers(
        halves(stem), SimpleNamespace(layers_per_block=LAYERS_PER_BLOCK)
    )
    key = next(iter(oracle._convert_non_diffusers_lora_to_diffusers(state)[0]))
    (place,) = places(re.sub(r"[._]lora(_linear_layer)?\.down\.weight$", "", key), family, (1, 1))
    return place.module


def original(name: str, modules: Modules) -> str:
    """Say a UNet's module in the words of the original code."""
    inner = name.removeprefix("unet.")
    if inner in ORIGINAL_ENDS:
        return f"unet.{ORIGINAL_ENDS[inner]}"
    block, *rest = re.split(r"\.(?=attentions|resnets|downsamplers|upsamplers)", inner)
    kind, index, tail = rest[0].split(".", 2)
    tail = ORIGINAL_RESNET.get(tail, tail)
    if block == "mid_block":
        return f"unet.middle_block.{1 if kind == 'attentions' else 2 * int(index)}.{tail}"
    return f"unet.{_numbered(block, kind, int(index), modules)}.{tail}".replace(".0.conv", ".0.op")


def _numbered(block: str, kind: str, index: int, modules: Modules) -> str:
    side, level = block.split(".")
    first = int(level) * (LAYERS_PER_BLOCK + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + LAYERS_PER_BLOCK + 1}.0"
    if kind == "upsamplers":
        attends = any(name.startswith(f"unet.{block}.attentions") for name in modules)
        return f"output_blocks.{first + LAYERS_PER_BLOCK}.{2 if attends else 1}"
    number = first + index + (side == "down_blocks")
    words = "input_blocks" if side == "down_blocks" else "output_blocks"
    return f"{words}.{number}.{0 if kind == 'resnets' else 1}"


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_every_module_of_a_unet_keeps_its_name_through_kohya(
    model: str, request: pytest.FixtureRequest
) -> None:
    modules: Modules = request.getfixturevalue(model)
    stems = {name: joined("lora_unet_", name) for name in modules}
    assert {name: named(stem, modules[name]) for name, stem in stems.items()} == {
        name: name for name in modules
    }


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_every_module_of_a_unet_keeps_its_name_through_the_original_blocks(
    model: str, request: pytest.FixtureRequest
) -> None:
    modules: Modules = request.getfixturevalue(model)
    for name, shape in modules.items():
        stem = original(name, modules)
        assert named(joined("lora_unet_", stem), shape) == name
        assert named(stem.replace("unet.", "diffusion_model."), shape) == name


# what diffusers 0.42 reads as a module that the model does not have
DIFFUSERS_FAULTS = {
    ("sd15", "original"): {"unet.up_blocks.0.upsamplers.0.conv"},
    ("sdxl", "diffusers"): {"unet.add_embedding.linear_1", "unet.add_embedding.linear_2"},
}


@pytest.mark.parametrize("blocks", ["diffusers", "original"])
@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_diffusers_reads_a_unet_the_same_where_it_finds_a_module(
    model: str, blocks: str, request: pytest.FixtureRequest
) -> None:
    modules: Modules = request.getfixturevalue(model)
    differing = {}
    for name, shape in modules.items():
        stem = joined("lora_unet_", original(name, modules) if blocks == "original" else name)
        if (read := read_by_diffusers(stem)) != named(stem, shape):
            differing[name] = read
    assert differing.keys() == DIFFUSERS_FAULTS.get((model, blocks), set())
    assert not set(differing.values()) & modules.keys()


@pytest.mark.parametrize(
    ("prefix", "component"),
    [
        ("lora_te_", "text_encoder"),
        ("lora_te1_", "text_encoder"),
        ("lora_te2_", "text_encoder_2"),
    ],
)
def test_every_module_of_clip_has_one_name_which_diffusers_reads_too(
    prefix: str, component: str, text_encoder: Modules
) -> None:
    for name, shape in text_encoder.items():
        stem = joined(prefix, name)
        assert named(stem, shape) == name.replace("text_encoder", component)
        assert read_by_diffusers(stem) == named(stem, shape)


def test_transformers_5_drops_a_level_of_clip_and_the_name_stays(text_encoder: Modules) -> None:
    for name, shape in text_encoder.items():
        shorter = name.replace(".text_model", "")
        assert named(joined("lora_te1_", shorter), shape) == name
        assert places(shorter, "peft", shape)[0].module == name


@pytest.mark.parametrize("prefix", ["lora_te2_", "lora_te3_"])
def test_t5_is_the_second_text_encoder_whatever_its_number(
    prefix: str, text_encoder_3: Modules
) -> None:
    for name, shape in text_encoder_3.items():
        assert named(joined(prefix, name), shape) == name


def test_the_generic_prefix_of_lycoris_names_modules_as_they_are(
    sdxl: Modules, text_encoder: Modules
) -> None:
    for name, shape in (sdxl | text_encoder).items():
        if name != "text_encoder.text_projection":
            assert named(joined("lycoris_", name), shape) == name
    assert named("lycoris_model_layers_31_mlp_gate_proj", (4, 4)) == "model.layers.31.mlp.gate_proj"


@pytest.mark.parametrize(
    "stem",
    [
        "lora_unet_",
        "lora_unet_joint_blocks_0_x_block_attn_qkv",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn3_to_q",
        "lora_unet_down_blocks_00_attentions_0_proj_in",
        "lora_unet_down_blocks_²_attentions_0_proj_in",
        "lora_unet_down_blocks_#_attentions_0_proj_in",
        "lora_unet_down_blocks_0_attentions_0_proj_in_extra",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_1",
        "lora_unet_middle_block_3_in_layers_2",
        "lora_unet_input_blocks_3_1_proj_in",
        "lora_unet_input_blocks_12_0_in_layers_2",
        "lora_te3_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te4_text_model_encoder_layers_0_self_attn_q_proj",
        "lycoris_layers_0_linear",
        "lycoris_text_projection",
        "nothing",
        "",
        "a..b",
        "down blocks.0",
        "diffusion_model.double_blocks.0.img_attn.norm",
    ],
)
def test_a_name_that_no_rule_knows_is_refused_by_name(stem: str) -> None:
    with pytest.raises(UnknownModule, match=re.escape(f"cannot name the module of {stem!r}")):
        places(stem, "kohya", (4, 4))
