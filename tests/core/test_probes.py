from __future__ import annotations

import pytest

from wsa.experiment.probes import place, probes
from wsa.layers import Layer, Layers, catalogue


@pytest.mark.parametrize(
    ("name", "module", "expected"),
    [
        (
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.down",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q",
            (
                "unet.down_blocks.0.attentions.1.transformer_blocks.0",
                "attn1.to_q.down",
            ),
        ),
        (
            "unet.mid_block.attentions.0.proj_in",
            "unet.mid_block.attentions.0.proj_in",
            ("unet.mid_block.attentions.0", "proj_in"),
        ),
        (
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.up",
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0",
            (
                "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0",
                "attn1_to_out_0.up",
            ),
        ),
        ("layers.0", "layers.0", ("layers.0", "weight")),
        ("layers.0.bias", "layers.0.bias", ("layers.0", "bias")),
        ("head", "head", ("", "head")),
    ],
    ids=str,
)
def test_a_name_tells_its_block_and_its_module_type(
    name: str, module: str, expected: tuple[str, str]
) -> None:
    assert place(Layer(name, module, 1, 1)) == expected


def layers() -> Layers:
    halves = {"down": (1, 4), "up": (4, 1)}
    shapes = {
        f"unet.blocks.{block}.attn{kind}.to_q.lora.{half}.weight": shape
        for block in range(3)
        for kind in (1, 2)
        for half, shape in halves.items()
    }
    return catalogue(shapes).layers("factors")


@pytest.mark.parametrize(
    ("layer_set", "count", "size"),
    [("each-block", 3, 4), ("each-module-type", 4, 3), ("per-layer", 12, 1)],
)
def test_every_layer_is_in_one_probe(layer_set: str, count: int, size: int) -> None:
    found = probes(layer_set, layers())
    assert [len(probe.layers) for probe in found] == [size] * count
    assert sorted(name for probe in found for name in probe.layers) == sorted(layers().names)
