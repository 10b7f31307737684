from __future__ import annotations

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as oracle
from torch import Tensor

from wsa.formats.naming import UnknownModule, places

Modules = dict[str, tuple[int, int]]

# FLUX.1's own: diffusers splits the fused modules of single blocks at these rows and no others
WIDTH, MLP = 3072, 12288
STREAMS = {
    "img": ("attn.to_out.0", "ff", "norm1"),
    "txt": ("attn.to_add_out", "ff_context", "norm1_context"),
}
EMBEDDERS = {"time": "timestep", "vector": "text", "guidance": "guidance"}


def kohya(modules: Modules) -> dict[str, tuple[int, int]]:
    """Say every module of FLUX.1 as sd-scripts stores it, with the shape it has there."""
    shapes: dict[str, tuple[int, int]] = {}
    for name, (out, width) in modules.items():
        stem = kohya_stem(name.removeprefix("transformer."))
        rows = shapes.get(stem, (0, 0))[0]
        shapes[stem] = (rows + out, width)
    return shapes


def kohya_stem(name: str) -> str:
    block, _, rest = name.partition("transformer_blocks.")
    if not rest:
        return f"lora_unet_{ENDS[name]}"
    index, _, tail = rest.partition(".")
    blocks, words = ("single", SINGLE) if block else ("double", DOUBLE)
    return f"lora_unet_{blocks}_blocks_{index}_{words[tail]}"


SINGLE = {
    **dict.fromkeys(("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "linear1"),
    "proj_out": "linear2",
    "norm.linear": "modulation_lin",
}
DOUBLE = {
    **dict.fromkeys(("attn.to_q", "attn.to_k", "attn.to_v"), "img_attn_qkv"),
    **dict.fromkeys(("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"), "txt_attn_qkv"),
}
for stream, (out, ff, norm) in STREAMS.items():
    DOUBLE |= {out: f"{stream}_attn_proj", f"{ff}.net.0.proj": f"{stream}_mlp_0"}
    DOUBLE |= {f"{ff}.net.2": f"{stream}_mlp_2", f"{norm}.linear": f"{stream}_mod_lin"}
ENDS = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "proj_out": "final_layer_linear",
    "norm_out.linear": "final_layer_adaLN_modulation_1",
} | {
    f"time_text_embed.{name}_embedder.linear_{n}": f"{part}_in_{side}_layer"
    for part, name in EMBEDDERS.items()
    for n, side in ((1, "in"), (2, "out"))
}


def pair(stem: str, shape: tuple[int, int]) -> dict[str, Tensor]:
    """Write one kohya module of rank 1 whose up says which row it was."""
    up = torch.arange(shape[0], dtype=torch.float32)[:, None]
    return {f"{stem}.lora_down.weight": torch.ones(1, 1), f"{stem}.lora_up.weight": up}


def ours(stem: str, shape: tuple[int, int], family: str = "kohya") -> dict[str, list[int]]:
    """Return the rows that each module gets."""
    return {
        place.module: [
            row for start, stop in place.rows or ((0, shape[0]),) for row in range(start, stop)
        ]
        for place in places(stem, family, shape)
    }


def theirs(converted: dict[str, Tensor]) -> dict[str, list[int]]:
    ups = {key: value for key, value in converted.items() if key.endswith("lora_B.weight")}
    return {
        f"transformer.{key.removesuffix('.lora_B.weight').removeprefix('transformer.')}": (
            value.flatten().int().tolist()
        )
        for key, value in ups.items()
    }


def test_every_module_of_flux_is_named_once(flux: Modules) -> None:
    named = [name for stem, shape in kohya(flux).items() for name in ours(stem, shape)]
    assert sorted(named) == sorted(flux)


def test_every_module_of_flux_keeps_its_own_name(flux: Modules, flux2: Modules) -> None:
    for name, shape in (flux | flux2).items():
        joined = f"lora_transformer_{name.removeprefix('transformer.').replace('.', '_')}"
        for stem in (name, name.removeprefix("transformer."), f"base_model.model.{name}", joined):
            family = "kohya" if stem == joined else "peft"
            assert [place.module for place in places(stem, family, shape)] == [name], stem


def test_diffusers_gives_the_same_rows_to_the_same_modules(flux: Modules) -> None:
    # real widths, for one block each: diffusers knows no other
    scale = WIDTH // 8
    for stem, shape in kohya(flux).items():
        if "_blocks_" in stem and not {"_0_", "_18_", "_37_"} & {f"_{n}_" for n in stem.split("_")}:
            continue
        real = (shape[0] * scale, shape[1] * scale)
        assert theirs(oracle._convert_kohya_flux_lora_to_diffusers(pair(stem, real))) == ours(
            stem, real
        )


XLABS = {
    "double_blocks.3.processor.qkv_lora1": (36, 12),
    "double_blocks.3.processor.proj_lora1": (12, 12),
    "double_blocks.3.processor.qkv_lora2": (36, 12),
    "double_blocks.3.processor.proj_lora2": (12, 12),
    "single_blocks.11.processor.qkv_lora": (36, 12),
    "single_blocks.11.processor.proj_lora": (12, 60),
}


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
@pytest.mark.parametrize("stem", XLABS)
def test_diffusers_reads_xlabs_the_same(stem: str, prefix: str) -> None:
    up = torch.arange(XLABS[stem][0], dtype=torch.float32)[:, None]
    state = {f"{prefix}{stem}.down.weight": torch.ones(1, 1), f"{prefix}{stem}.up.weight": up}
    found = theirs(oracle._convert_xlabs_flux_lora_to_diffusers(state))
    assert found == ours(prefix + stem, XLABS[stem], "xlabs")


def kohya2(modules: Modules) -> dict[str, tuple[int, int]]:
    """Say what sd-scripts stores of FLUX.2: blocks and both ends."""
    shapes: dict[str, tuple[int, int]] = {}
    words = {
        "attn.to_qkv_mlp_proj": "linear1",
        "attn.to_out": "linear2",
        **{tail: stem for tail, stem in DOUBLE.items() if ".net." not in tail},
    }
    for stream, (_, ff, _) in STREAMS.items():
        words |= {f"{ff}.linear_in": f"{stream}_mlp_0", f"{ff}.linear_out": f"{stream}_mlp_2"}
    for name, (rows, width) in modules.items():
        block, _, rest = name.removeprefix("transformer.").partition("transformer_blocks.")
        index, _, tail = rest.partition(".")
        if rest:
            stem = f"lora_unet_{'single' if block else 'double'}_blocks_{index}_{words[tail]}"
            shapes[stem] = (rows + shapes.get(stem, (0, 0))[0], width)
    return shapes


def test_the_blocks_of_flux_2_are_told_by_their_shapes(flux2: Modules) -> None:
    shapes = kohya2(flux2)
    named = [name for stem, shape in shapes.items() for name in ours(stem, shape)]
    assert sorted(named) == sorted(name for name in flux2 if "transformer_blocks" in name)
    for stem, shape in shapes.items():
        found = theirs(oracle._convert_kohya_flux2_lora_to_diffusers(pair(stem, shape)))
        # diffusers counts the blocks from the file: a lone block 3 is the last of four
        assert found == ours(stem, shape)


@pytest.mark.parametrize(
    ("stem", "shape", "module"),
    [
        ("double_stream_modulation_txt_lin", (48, 8), "double_stream_modulation_txt.linear"),
        ("single_stream_modulation_lin", (24, 8), "single_stream_modulation.linear"),
        ("time_in_in_layer", (6144, 256), "time_guidance_embed.timestep_embedder.linear_1"),
        ("guidance_in_out_layer", (4096, 4096), "time_guidance_embed.guidance_embedder.linear_2"),
        ("time_in_in_layer", (3072, 256), "time_text_embed.timestep_embedder.linear_1"),
    ],
)
def test_the_ends_of_flux_2_are_told_by_name_or_width(
    stem: str, shape: tuple[int, int], module: str
) -> None:
    (place,) = places(f"lora_unet_{stem}", "kohya", shape)
    assert place.module == f"transformer.{module}"


@pytest.mark.parametrize(
    ("stem", "module"),
    [
        ("double_blocks_4_img_attn_qkv", "transformer_blocks.4.attn.to_qkv"),
        ("double_blocks_4_txt_attn_qkv", "transformer_blocks.4.attn.to_added_qkv"),
        ("single_blocks_4_linear1", "single_transformer_blocks.4.attn.to_qkv_mlp_proj"),
    ],
)
def test_a_fused_module_that_is_not_split_has_one_name(stem: str, module: str) -> None:
    (place,) = places(f"lora_unet_{stem}", "kohya", (84, 12), split_fused=False)
    assert (place.module, place.rows) == (f"transformer.{module}", None)


@pytest.mark.parametrize("split", [True, False])
def test_shift_and_scale_of_the_last_layer_are_swapped_as_diffusers_does(split: bool) -> None:
    stem = "lora_unet_final_layer_adaLN_modulation_1"
    (place,) = places(stem, "kohya", (16, 8), split)
    assert place.rows == ((8, 16), (0, 8))
    (own,) = places("transformer.norm_out.linear", "diffusers", (16, 8), split)
    assert own.rows is None


@pytest.mark.parametrize(
    ("stem", "shape", "reason"),
    [
        ("double_blocks_0_img_attn_qkv", (37, 12), "3 equal parts, got 37"),
        (
            "single_blocks_0_linear1",
            (80, 12),
            r"ratio 7 \(FLUX.1\) or 9 \(FLUX.2\), got \(80, 12\)",
        ),
        ("double_blocks_0_txt_mlp_2", (8, 40), r"ratio 4 \(FLUX.1\) or 3 \(FLUX.2\)"),
    ],
)
def test_shapes_that_no_flux_has_are_refused(
    stem: str, shape: tuple[int, int], reason: str
) -> None:
    with pytest.raises(UnknownModule, match=reason):
        places(f"lora_unet_{stem}", "kohya", shape)
