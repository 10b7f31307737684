from __future__ import annotations

import random

import pytest

from wsa.errors import WsaError
from wsa.layers import Catalogue, catalogue, natural


def sd15(rank: int = 1) -> Catalogue:
    """The 128 matrices of an SD-1.5 adapter on to_q and to_v, every width 8 but the prompt's."""
    places = [f"down_blocks.{b}.attentions.{a}" for b in range(3) for a in range(2)]
    places += ["mid_block.attentions.0"]
    places += [f"up_blocks.{b}.attentions.{a}" for b in range(1, 4) for a in range(3)]
    shapes = {}
    for place in places:
        for kind in ("attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v"):
            module = f"unet.{place}.transformer_blocks.0.{kind}.lora"
            shapes[f"{module}.down.weight"] = (rank, 5 if kind == "attn2.to_v" else 8)
            shapes[f"{module}.up.weight"] = (8, rank)
    return catalogue(shapes)


def test_numbers_sort_by_value_and_projections_in_their_order() -> None:
    names = [
        "b.10.attn1.to_q",
        "b.9.attn2.to_q",
        "b.9.attn1.to_out.0",
        "b.9.attn1.to_v",
        "b.9.attn1.to_k",
    ]
    names += ["b.9.attn1.to_q"]
    assert sorted(names, key=natural) == [
        "b.9.attn1.to_q",
        "b.9.attn1.to_k",
        "b.9.attn1.to_v",
        "b.9.attn1.to_out.0",
        "b.9.attn2.to_q",
        "b.10.attn1.to_q",
    ]


@pytest.mark.parametrize(
    "names",
    [
        [f"text_encoder.text_model.encoder.layers.2.self_attn.{p}_proj" for p in "qkv"]
        + [
            "text_encoder.text_model.encoder.layers.2.self_attn.out_proj",
            "text_encoder.text_model.encoder.layers.10.self_attn.q_proj",
            "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj",
            "unet.conv_in",
        ],
        [f"text_encoder_2.encoder.block.9.layer.0.SelfAttention.{p}" for p in "qkvo"],
        [f"model.layers.9.self_attn.{p}_proj" for p in "qkvo"],
        [f"transformer.transformer_blocks.9.attn.add_{p}_proj" for p in "qkv"]
        + [
            f"transformer.transformer_blocks.9.attn.to_{p}"
            for p in ("q", "k", "v", "out.0", "add_out")
        ]
        + ["transformer.transformer_blocks.18.attn.to_q"],
        [
            f"unet.{place}.transformer_blocks.{k}.{attention}.to_{p}"
            for place in (
                "down_blocks.1.attentions.0",
                "down_blocks.2.attentions.0",
                "mid_block.attentions.0",
                "up_blocks.0.attentions.2",
            )
            for k in (0, 1, 9, 10)
            for attention in ("attn1", "attn2")
            for p in ("q", "k", "v", "out.0")
        ],
        ["unet.up_blocks.0.attentions.0.proj_in", "unet.up_blocks.0.attentions.0.proj_out"],
    ],
)
def test_modules_of_every_model_stand_in_the_order_of_their_blocks(names: list[str]) -> None:
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural) == names


def test_layer_sets_of_the_flagship_have_their_documented_sizes() -> None:
    factors, delta = sd15().layers("factors"), sd15().layers("delta")
    sizes = {
        name: len(factors.select(name)) for name in ("all", "visual", "text", "self_attention")
    }
    assert sizes == {"all": 128, "visual": 96, "text": 32, "self_attention": 64}
    assert [len(delta.select(name)) for name in sizes] == [64, 48, 16, 32]


@pytest.mark.parametrize(
    ("module", "sets"),
    [
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", "vs"),
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_q", "v"),
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", "t"),
        ("lora_unet_double_blocks_0_txt_attn_qkv", "t"),
        ("lora_unet_double_blocks_0_img_attn_qkv", "v"),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", "t"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", "t"),
        ("transformer.transformer_blocks.0.attn.add_q_proj", "t"),
        ("base_model.model.model.layers.0.self_attn.q_proj", "vs"),
        ("unet.mid_block.attentions.0.transformer_blocks.9.attn1.to_out.0", "vs"),
        ("unet.mid_block.attentions.0.transformer_blocks.9.attn2.to_v", "t"),
        ("unet.add_embedding.linear_1", "v"),
        ("text_encoder_2.text_projection", "t"),
        ("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q", "t"),
        ("transformer.transformer_blocks.0.attn.to_q", "v"),
        ("transformer.transformer_blocks.0.attn.to_qkv", "v"),
        ("transformer.transformer_blocks.0.attn.to_added_qkv", "t"),
        ("transformer.transformer_blocks.0.attn.to_add_out", "t"),
        ("transformer.transformer_blocks.0.ff.net.0.proj", "v"),
        ("transformer.transformer_blocks.0.ff_context.net.0.proj", "t"),
        ("transformer.transformer_blocks.0.ff_context.linear_in", "t"),
        ("transformer.transformer_blocks.0.norm1.linear", "v"),
        ("transformer.transformer_blocks.0.norm1_context.linear", "t"),
        ("transformer.context_embedder", "t"),
        ("transformer.time_text_embed.text_embedder.linear_1", "t"),
        ("transformer.time_text_embed.timestep_embedder.linear_1", "v"),
        ("transformer.double_stream_modulation_txt.linear", "t"),
        ("transformer.double_stream_modulation_img.linear", "v"),
        ("transformer.single_transformer_blocks.0.attn.to_k", "v"),
        ("transformer.single_transformer_blocks.0.proj_mlp", "v"),
    ],
)
def test_a_module_belongs_to_the_sets_of_what_it_reads(module: str, sets: str) -> None:
    shapes = {f"{module}.lora_down.weight": (1, 4), f"{module}.lora_up.weight": (4, 1)}
    layers = catalogue(shapes).layers("delta")
    for letter, name in (("v", "visual"), ("t", "text"), ("s", "self_attention")):
        if letter in sets:
            assert layers.select(name) == [0]
        else:
            with pytest.raises(WsaError, match="selects none"):
                layers.select(name)


def test_modules_are_paired_by_name_whatever_the_order_of_the_columns() -> None:
    shapes = {"b.lora.up.weight": (4, 2), "a.lora.down.weight": (2, 3)}
    shapes |= {"a.lora.up.weight": (5, 2), "b.lora.down.weight": (2, 6)}
    found = catalogue(shapes)
    pairs = [(found.factors[up].name, found.factors[down].name) for up, down in found.pairs]
    assert pairs == [("a.up", "a.down"), ("b.up", "b.down")]
    assert [(layer.rows, layer.cols) for layer in found.layers("delta")] == [(5, 3), (4, 6)]


@pytest.mark.parametrize("half", ["up", "down"])
def test_a_lone_half_is_refused_by_name(half: str) -> None:
    with pytest.raises(WsaError, match=f"'a' has {half} without"):
        catalogue({f"a.lora.{half}.weight": (2, 2)})


def test_halves_of_unequal_rank_are_refused() -> None:
    with pytest.raises(WsaError, match="up is 3 x 2 but down is 1 x 4"):
        catalogue({"a.lora.up.weight": (3, 2), "a.lora.down.weight": (1, 4)})


def test_two_columns_for_one_matrix_are_refused() -> None:
    shapes = {"a.lora.up.weight": (3, 1), "a.lora.down.weight": (1, 4), "a.lora_A.weight": (1, 4)}
    with pytest.raises(WsaError, match="two matrices claim one place"):
        catalogue(shapes)


def test_an_unknown_layer_set_names_the_nearest() -> None:
    with pytest.raises(WsaError, match=r"no layer set called 'visul'.*did you mean 'visual'"):
        sd15().factors.select("visul")


def test_a_glob_selects_layers_and_an_empty_one_is_refused() -> None:
    layers = sd15().factors
    assert len(layers.select("*.attn1.to_q.*")) == 32
    with pytest.raises(WsaError, match="selects none of the 128 layers"):
        layers.select("*.attn3.*")


def test_the_random_set_is_the_same_in_every_process_and_within_bounds() -> None:
    layers = sd15().factors
    assert layers.select("random:5") == [0, 5, 55, 76, 100]
    assert len(set(layers.select("random:96"))) == 96
    with pytest.raises(WsaError, match=r"needs n in 1\.\.128, got 'random:129'"):
        layers.select("random:129")


def test_sampling_layers_keeps_whole_modules() -> None:
    layers = sd15().factors
    kept = [layer.module for layer in layers.sample(0.25)]
    assert len(kept) == 32
    assert all(kept.count(module) == 2 for module in kept)


def test_dense_matrices_have_factors_but_no_delta() -> None:
    found = catalogue({"layer.0.weight": (3, 4), "layer.1.weight": (2, 3)})
    assert found.factors.names == ["layer.0", "layer.1"]
    with pytest.raises(WsaError, match="2 of 2 are dense: use --view factors"):
        found.layers("delta")
