from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as oracle
from diffusers.models import UNet2DConditionModel
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from tests.formats import writers
from tests.formats.conftest import SD15, SDXL, Modules
from tests.formats.test_diffusers_files import (
    LINEAR,
    NAME,
    encoder_tensors,
    encoder_with_adapter,
    prefixed,
    with_adapter,
)
from tests.formats.test_kohya import DIFFUSERS_FAULTS, LAYERS_PER_BLOCK, joined, original
from tests.formats.test_lycoris import TINY
from tests.formats.writers import Tensors, assert_same, read
from torch import Tensor

from wsa.formats.naming import places

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


TYPES = [torch.float16, torch.bfloat16, torch.float64, torch.int64]
STEM, NAMED = (
    "lora_unet_down_blocks_0_attentions_0_proj_in",
    "unet.down_blocks.0.attentions.0.proj_in",
)


def module(stem: str, weight: Tensor, number: int) -> Tensors:
    """Write one module as sd-scripts does, of a rank and an alpha of its own."""
    rank, (out, width, *kernel) = 1 + number % 3, weight.shape
    up, down = writers.lora(out, weight[0].numel(), rank, seed=number)
    return {
        f"{stem}.lora_down.weight": down.reshape(rank, width, *kernel),
        f"{stem}.lora_up.weight": up.reshape(out, rank, *(1 for _ in kernel)),
        f"{stem}.alpha": torch.tensor(1.5 + number % 4),
    }


def updates(tensors: Tensors) -> Tensors:
    """Multiply out what a file of sd-scripts says, by stem."""
    found = {}
    for key, up in tensors.items():
        if key.endswith(".lora_up.weight"):
            stem = key.removesuffix(".lora_up.weight")
            down = tensors[f"{stem}.lora_down.weight"].double().flatten(1)
            scale = tensors[f"{stem}.alpha"].double() / len(down)
            found[stem] = scale * (up.double().flatten(1) @ down)
    return found


def converted(tensors: Tensors) -> Tensors:
    """Return the updates that diffusers makes of one module: its halves, and its alpha beside."""
    config = SimpleNamespace(layers_per_block=LAYERS_PER_BLOCK)
    state, alphas = oracle._convert_non_diffusers_lora_to_diffusers(
        oracle._maybe_map_sgm_blocks_to_diffusers(dict(tensors), config)
    )
    ((down_key, down), (_, up)) = sorted(state.items())
    scale = alphas[down_key.split(".lora.")[0] + ".alpha"] / len(down)
    stem = re.sub(r"[._]lora\.down\.weight$", "", down_key)
    (place,) = places(stem, "diffusers_old", (1, 1))
    return {place.module: scale * (up.double().flatten(1) @ down.double().flatten(1))}


@pytest.mark.parametrize("blocks", ["diffusers", "original"])
@pytest.mark.parametrize(("model", "settings"), [("sd15", SD15), ("sdxl", SDXL)])
def test_a_unet_of_sd_scripts_is_what_diffusers_makes_of_it(
    model: str, settings: dict[str, Any], blocks: str, tmp_path: Path, request: Any
) -> None:
    modules: Modules = request.getfixturevalue(model)
    with torch.device("meta"):
        unet = dict(UNet2DConditionModel(**settings).named_modules())
    tensors: Tensors = {}
    expected: Tensors = {}
    faults = DIFFUSERS_FAULTS.get((model, blocks), set())
    for number, name in enumerate(sorted(modules.keys() - faults)):
        stem = joined("lora_unet_", original(name, modules) if blocks == "original" else name)
        stored = module(stem, unet[name.removeprefix("unet.")].weight, number)
        # by itself: diffusers takes input_blocks_10 for input_blocks_1 where both are there
        expected |= converted(stored)
        tensors |= stored
    save_file(tensors, tmp_path / NAME)
    assert_same(read(tmp_path / NAME), expected)


@pytest.mark.parametrize("prefix", ["lora_te_", "lora_te1_", "lora_te2_"])
def test_a_text_encoder_of_sd_scripts_is_alpha_over_rank(
    prefix: str, text_encoder: Modules, tmp_path: Path
) -> None:
    component = "text_encoder_2" if prefix == "lora_te2_" else "text_encoder"
    tensors: Tensors = {}
    expected: Tensors = {}
    for number, (name, shape) in enumerate(text_encoder.items()):
        stem = joined(prefix, name)
        stored = module(stem, torch.empty(shape), number)
        tensors |= stored
        expected[name.replace("text_encoder", component)] = updates(stored)[stem]
    save_file(tensors, tmp_path / NAME)
    assert_same(read(tmp_path / NAME), expected)


def test_what_diffusers_itself_writes_for_sd_scripts_is_read(tmp_path: Path) -> None:
    unet = with_adapter(
        UNet2DConditionModel(**TINY), LoraConfig(r=4, lora_alpha=4, target_modules=LINEAR)
    )
    encoder = encoder_with_adapter(LoraConfig(r=3, lora_alpha=3, target_modules=["q_proj", "fc1"]))
    state = {f"unet.{key}": value for key, value in get_peft_model_state_dict(unet).items()}
    state |= {f"text_encoder.{key}": value for key, value in encoder_tensors(encoder).items()}
    save_file(convert_state_dict_to_kohya(state), tmp_path / NAME)
    assert_same(read(tmp_path / NAME), prefixed("unet", unet) | prefixed("text_encoder", encoder))


def test_a_module_without_an_alpha_has_that_of_its_rank(tmp_path: Path) -> None:
    stored = module(STEM, torch.empty(4, 6), 1)
    expected = updates(stored | {f"{STEM}.alpha": torch.tensor(2.0)})[STEM]
    del stored[f"{STEM}.alpha"]
    save_file(stored, tmp_path / NAME)
    assert_same(read(tmp_path / NAME), {NAMED: expected})


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_an_alpha_may_have_any_type_that_holds_numbers(dtype: torch.dtype, tmp_path: Path) -> None:
    stored = module(STEM, torch.empty(4, 6), 1) | {f"{STEM}.alpha": torch.tensor([3], dtype=dtype)}
    save_file(stored, tmp_path / NAME)
    assert_same(read(tmp_path / NAME), {NAMED: updates(stored)[STEM]})
