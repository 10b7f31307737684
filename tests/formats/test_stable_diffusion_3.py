from __future__ import annotations

import pytest
import torch
from diffusers.loaders import single_file_utils as oracle

from wsa.formats.naming import places

Modules = dict[str, tuple[int, int]]
WIDTH, BLOCKS, DUAL = 8, 3, 0


def original() -> Modules:
    """Return every module of the original code with the shape it has there."""
    found: Modules = {
        "x_embedder.proj": (WIDTH, 16),
        "context_embedder": (WIDTH, 12),
        "final_layer.linear": (16, WIDTH),
        "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH),
    }
    for part in "ty":
        found |= {f"{part}_embedder.mlp.{n}": (WIDTH, WIDTH) for n in (0, 2)}
    for number in range(BLOCKS):
        for stream in ("x_block", "context_block"):
            block = f"joint_blocks.{number}.{stream}"
            ends = stream == "context_block" and number == BLOCKS - 1
            dual = stream == "x_block" and number == DUAL
            modulations = 2 if ends else 9 if dual else 6
            found[f"{block}.adaLN_modulation.1"] = (modulations * WIDTH, WIDTH)
            for attention in ("attn", "attn2") if dual else ("attn",):
                found[f"{block}.{attention}.qkv"] = (3 * WIDTH, WIDTH)
                if not ends:
                    found[f"{block}.{attention}.proj"] = (WIDTH, WIDTH)
            if not ends:
                found |= {f"{block}.mlp.fc1": (32, WIDTH), f"{block}.mlp.fc2": (WIDTH, 32)}
    return found


def numbered() -> dict[str, torch.Tensor]:
    """Return a checkpoint whose rows say which they were."""
    checkpoint = {"pos_embed": torch.zeros(1)}
    for name, (rows, _) in original().items():
        checkpoint[f"{name}.weight"] = torch.arange(rows, dtype=torch.float32)[:, None]
        checkpoint[f"{name}.bias"] = torch.arange(rows, dtype=torch.float32)
    return checkpoint


def theirs() -> dict[str, list[int]]:
    converted = oracle.convert_sd3_transformer_checkpoint_to_diffusers(numbered())
    return {
        f"transformer.{name.removesuffix('.weight')}": value.flatten().int().tolist()
        for name, value in converted.items()
        if name.endswith(".weight")
    }


def ours(prefix: str, family: str) -> dict[str, list[int]]:
    """Return the rows that each module gets."""
    found = {}
    for name, shape in original().items():
        stem = prefix + (name.replace(".", "_") if prefix.endswith("_") else name)
        for place in places(stem, family, shape):
            ranges = place.rows or ((0, shape[0]),)
            found[place.module] = [row for start, stop in ranges for row in range(start, stop)]
    return found


@pytest.mark.parametrize(
    ("prefix", "family"),
    [("lora_unet_", "kohya"), ("lycoris_", "kohya"), ("diffusion_model.", "peft")],
)
def test_diffusers_gives_the_same_rows_to_the_same_modules(
    prefix: str, family: str, sd3: Modules
) -> None:
    found = ours(prefix, family)
    assert found == theirs()
    assert sorted(found) == sorted(sd3)


def test_a_block_needs_no_prefix_to_be_named() -> None:
    for stem in (
        "joint_blocks.1.x_block.mlp.fc1",
        "diffusion_model.joint_blocks.1.x_block.mlp.fc1",
    ):
        (place,) = places(stem, "peft", (32, 8))
        assert place.module == "transformer.transformer_blocks.1.ff.net.0.proj"


def test_every_module_keeps_its_own_name(sd3: Modules) -> None:
    for name, shape in sd3.items():
        joined = f"lora_transformer_{name.removeprefix('transformer.').replace('.', '_')}"
        for stem, family in ((name, "peft"), (joined, "kohya")):
            assert [place.module for place in places(stem, family, shape)] == [name]


def test_fused_modules_may_be_kept() -> None:
    stem = "lora_unet_joint_blocks_0_x_block_attn2_qkv"
    (place,) = places(stem, "kohya", (24, 8), split_fused=False)
    assert place.module == "transformer.transformer_blocks.0.attn2.to_qkv"
