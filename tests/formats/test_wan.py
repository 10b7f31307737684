from __future__ import annotations

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as oracle

from wsa.formats.naming import places

Modules = dict[str, tuple[int, int]]
ENDS = [
    *(f"{name}.{n}" for name in ("text_embedding", "time_embedding") for n in (0, 2)),
    *("time_projection.1", "head.head", "img_emb.proj.1", "img_emb.proj.3"),
]


def original(blocks: int = 2) -> list[str]:
    """Return every module of a block as the original code calls it."""
    tails = [
        f"{attention}.{short}" for attention in ("self_attn", "cross_attn") for short in "qkvo"
    ]
    tails += ["cross_attn.k_img", "cross_attn.v_img", "ffn.0", "ffn.2"]
    return [f"blocks.{number}.{tail}" for number in range(blocks) for tail in tails]


def state(stems: list[str], prefix: str) -> dict[str, torch.Tensor]:
    """Return an adapter of rank 1, each of whose modules has a number of its own."""
    found = {}
    for number, stem in enumerate(stems):
        key = prefix + (stem.replace(".", "_") if prefix.endswith("_") else stem)
        found[f"{key}.lora_down.weight"] = torch.ones(1, 1)
        found[f"{key}.lora_up.weight"] = torch.full((1, 1), float(number))
        if prefix.endswith("_"):
            found[f"{key}.alpha"] = torch.tensor(1.0)
    return found


def numbers(converted: dict[str, torch.Tensor]) -> dict[str, int]:
    ups = {key: value for key, value in converted.items() if key.endswith(".lora_B.weight")}
    return {key.removesuffix(".lora_B.weight"): int(value) for key, value in ups.items()}


def ours(stems: list[str], prefix: str, family: str) -> dict[str, int]:
    found = {}
    for number, stem in enumerate(stems):
        key = prefix + (stem.replace(".", "_") if prefix.endswith("_") else stem)
        (place,) = places(key, family, (8, 8))
        assert place.rows is None
        found[place.module] = number
    return found


def test_diffusers_names_what_musubi_tuner_stores_the_same() -> None:
    stems = original()
    theirs = oracle._convert_musubi_wan_lora_to_diffusers(state(stems, "lora_unet_"))
    assert ours(stems, "lora_unet_", "kohya") == numbers(theirs)


def test_diffusers_names_original_modules_the_same(wan: Modules) -> None:
    stems = original() + ENDS
    theirs = oracle._convert_non_diffusers_wan_lora_to_diffusers(state(stems, "diffusion_model."))
    found = ours(stems, "diffusion_model.", "kohya")
    assert found == numbers(theirs)
    assert sorted(found) == sorted(wan)


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_a_block_needs_no_prefix_to_be_named(prefix: str) -> None:
    (place,) = places(f"{prefix}blocks.3.cross_attn.k", "peft", (8, 8))
    assert place.module == "transformer.blocks.3.attn2.to_k"


def test_every_module_keeps_its_own_name(wan: Modules) -> None:
    for name, shape in wan.items():
        joined = f"lora_transformer_{name.removeprefix('transformer.').replace('.', '_')}"
        for stem, family in ((name, "peft"), (joined, "kohya")):
            assert [place.module for place in places(stem, family, shape)] == [name]
