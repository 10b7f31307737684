from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import FluxLoraLoaderMixin
from diffusers.models import FluxTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from tests.formats import writers
from tests.formats.conftest import FLUX
from tests.formats.test_diffusers_files import NAME, prefixed, with_adapter
from tests.formats.writers import Tensors, assert_same, read
from torch import Tensor

from wsa.formats.adapter import AdapterReader
from wsa.population.reading import Reading
from wsa.population.source import open_population

WIDTH, RANK = 24, 3
PARTS = {
    **{f"{stream}_attn.qkv": (3 * WIDTH, WIDTH) for stream in ("img", "txt")},
    **{f"{stream}_attn.proj": (WIDTH, WIDTH) for stream in ("img", "txt")},
    **{f"{stream}_mlp.0": (4 * WIDTH, WIDTH) for stream in ("img", "txt")},
    **{f"{stream}_mlp.2": (WIDTH, 4 * WIDTH) for stream in ("img", "txt")},
    **{f"{stream}_mod.lin": (6 * WIDTH, WIDTH) for stream in ("img", "txt")},
}
DOUBLE = {f"double_blocks.{n}.{part}": shape for n in (0, 18) for part, shape in PARTS.items()}
SINGLE = {
    f"single_blocks.{n}.{part}": shape
    for n in (0, 37)
    for part, shape in (("linear2", (WIDTH, 5 * WIDTH)), ("modulation.lin", (3 * WIDTH, WIDTH)))
}
Spelling = Callable[[str, Tensor, Tensor, int], Tensors]


def kohya(name: str, up: Tensor, down: Tensor, number: int) -> Tensors:
    stem = f"lora_unet_{name.replace('.', '_')}"
    halves = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    return halves | {f"{stem}.alpha": torch.tensor(1.5 + number)}


def dotted(name: str, up: Tensor, down: Tensor, number: int) -> Tensors:
    stem = f"diffusion_model.{name}"
    alpha = {f"{stem}.alpha": torch.tensor(1.5 + number)}
    return {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up} | alpha


def write(path: Path, modules: dict[str, tuple[int, int]], spelling: Spelling) -> Path:
    tensors: Tensors = {}
    for number, (name, shape) in enumerate(modules.items()):
        up, down = writers.lora(*shape, RANK, seed=number)
        tensors |= spelling(name, up, down, number)
    save_file(tensors, path)
    return path


def converted(path: Path) -> Tensors:
    """Return the updates that diffusers makes of a file for FLUX: it folds alpha into A and B."""
    state, alphas = FluxLoraLoaderMixin.lora_state_dict(
        path.parent, weight_name=path.name, return_alphas=True
    )
    assert not alphas
    found = {}
    for key, down in state.items():
        if key.endswith(".lora_A.weight"):
            up = state[key.replace("lora_A", "lora_B")].double()
            name = key.removesuffix(".lora_A.weight")
            found[f"transformer.{name.removeprefix('transformer.')}"] = up @ down.double()
    return found


def test_the_blocks_of_flux_are_what_diffusers_makes_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / NAME, DOUBLE | SINGLE, kohya)
    assert_same(read(path), converted(path))


def test_the_original_names_with_dots_are_the_same_modules(tmp_path: Path) -> None:
    path = write(tmp_path / NAME, DOUBLE | SINGLE, kohya)
    other = write(tmp_path / "other.safetensors", DOUBLE | SINGLE, dotted)
    assert_same(read(other), converted(path))


def test_a_single_blocks_first_matrix_is_parted_as_diffusers_does(tmp_path: Path) -> None:
    # diffusers knows it at its real width only; four columns are enough to hold it to
    width = 3072
    path = write(tmp_path / NAME, {"single_blocks.3.linear1": (7 * width, width)}, kohya)
    expected = {name: update[:, :4] for name, update in converted(path).items()}
    population = open_population(str(path))
    shard = population.read(0, 1)
    names, layout = population.catalogue.layers("delta").names, population.layout
    found = {}
    for name, (up, down) in zip(names, layout.pairs, strict=True):
        left, right = (matrix(shard.flat, layout, each) for each in (up, down))
        found[name] = left @ right[:, :4] * shard.scale[0, 0].double()
    assert_same(found, expected)


def matrix(flat: Tensor, layout: Any, layer: int) -> Tensor:
    (rows, cols), start = layout.shapes[layer], layout.offsets[layer]
    return flat[0, start : start + rows * cols].reshape(rows, cols).double()


def test_fused_modules_that_are_kept_are_the_parted_ones_stacked(tmp_path: Path) -> None:
    path = write(tmp_path / NAME, DOUBLE, kohya)
    parted, kept = read(path), read(path, Reading(split_fused=False))
    assert len(kept) == len(DOUBLE)
    for block in (f"transformer.transformer_blocks.{n}.attn" for n in (0, 18)):
        for fused, names in (("to_qkv", ("to_q", "to_k", "to_v")), ("to_added_qkv", TEXT)):
            stacked = torch.cat([parted[f"{block}.{name}"] for name in names])
            torch.testing.assert_close(kept[f"{block}.{fused}"], stacked)


TEXT = ("add_q_proj", "add_k_proj", "add_v_proj")


def test_a_fused_module_trained_in_three_parts_is_read_as_diffusers_does(tmp_path: Path) -> None:
    # sd-scripts' split_qkv: three adapters of rank 2 on the diagonal of one of rank 6
    ups = [writers.lora(WIDTH, WIDTH, 2, seed)[0] for seed in range(3)]
    down = torch.cat([writers.lora(WIDTH, WIDTH, 2, seed)[1] for seed in range(3)])
    up = torch.zeros(3 * WIDTH, 6)
    for part, half in enumerate(ups):
        up[part * WIDTH : (part + 1) * WIDTH, 2 * part : 2 * part + 2] = half
    tensors = kohya("double_blocks.0.img_attn.qkv", up, down, 0)
    save_file(tensors, tmp_path / NAME)
    assert_same(read(tmp_path / NAME), converted(tmp_path / NAME))


def xlabs(name: str, up: Tensor, down: Tensor, number: int) -> Tensors:
    return {f"{name}.up.weight": up, f"{name}.down.weight": down}


XLABS = {
    f"{prefix}.processor.{part}": shape
    for prefix, tails in (
        ("double_blocks.3", ("_lora1", "_lora2")),
        ("single_blocks.11", ("_lora",)),
    )
    for tail in tails
    for part, shape in ((f"qkv{tail}", (3 * WIDTH, WIDTH)), (f"proj{tail}", (WIDTH, WIDTH)))
}


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
def test_a_file_of_xlabs_is_what_diffusers_makes_of_it(prefix: str, tmp_path: Path) -> None:
    path = write(tmp_path / NAME, {prefix + name: shape for name, shape in XLABS.items()}, xlabs)
    assert_same(read(path), converted(path))
    assert AdapterReader().describe(path).form.family == "xlabs"


TARGETS = ["to_q", "to_k", "to_out.0", "add_q_proj", "to_add_out", "ff.net.0.proj", "proj_mlp"]


@pytest.mark.parametrize("alpha", [4, 6])
def test_a_file_of_ai_toolkit_is_what_diffusers_loads(alpha: int, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=alpha, target_modules=[*TARGETS, "norm1.linear"])
    transformer = with_adapter(FluxTransformer2DModel(**FLUX), config)
    told = transformer.peft_config["default"].to_dict() if alpha != 4 else None
    FluxLoraLoaderMixin.save_lora_weights(
        tmp_path,
        transformer_lora_layers=get_peft_model_state_dict(transformer),
        transformer_lora_adapter_metadata=told,
    )
    state, metadata = FluxLoraLoaderMixin.lora_state_dict(
        tmp_path, weight_name=NAME, return_lora_metadata=True
    )
    other = FluxTransformer2DModel(**FLUX)
    other.load_lora_adapter(state, prefix="transformer", metadata=metadata)
    assert_same(read(tmp_path / NAME), prefixed("transformer", other))
