from __future__ import annotations

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
