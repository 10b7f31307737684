from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.models import UNet2DConditionModel
from diffusers.utils import state_dict_utils
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from tests.formats import writers
from tests.formats.conftest import clip
from tests.formats.test_lycoris import TINY
from tests.formats.writers import Tensors, assert_same, peft_updates, read
from torch import nn

from wsa.formats.adapter import AdapterReader
from wsa.formats.inspection import inspect

LINEAR = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "ff.net.2"]
CONVOLUTIONS = ["conv1", "conv_shortcut", "time_emb_proj", "conv_in", "downsamplers.0.conv"]
ENCODER = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"]
# peft 0.21 asks Transformers 5.24 for what it calls otherwise by now
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
NAME = "pytorch_lora_weights.safetensors"


def with_adapter(model: Any, config: LoraConfig) -> Any:
    """Give a model of diffusers or Transformers a random adapter."""
    model.add_adapter(config)
    writers.randomise(model)
    return model


def encoder_with_adapter(config: LoraConfig) -> Any:
    """Do what `add_adapter` of Transformers 5.24 does, which asks for a later peft."""
    encoder = get_peft_model(clip(), config)
    writers.randomise(encoder)
    return encoder


def encoder_tensors(encoder: Any) -> Tensors:
    state = get_peft_model_state_dict(encoder)
    return {key.removeprefix("base_model.model."): value for key, value in state.items()}


def prefixed(component: str, model: nn.Module) -> Tensors:
    return {f"{component}.{name}": update for name, update in peft_updates(model).items()}


def test_the_small_models_are_named_as_the_real_ones() -> None:
    names = [name for name, _ in clip().named_modules()]
    assert "text_model.encoder.layers.0.self_attn.q_proj" in names


def loaded(folder: Path, settings: dict[str, Any] = TINY) -> Tensors:
    """Return the updates that diffusers makes of a file for a UNet."""
    unet = UNet2DConditionModel(**settings)
    state, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(
        folder, weight_name=NAME, unet_config=unet.config, return_lora_metadata=True
    )
    StableDiffusionLoraLoaderMixin.load_lora_into_unet(
        state, unet=unet, network_alphas=alphas, metadata=metadata
    )
    return prefixed("unet", unet)


CONFIGS: dict[str, dict[str, Any]] = {
    "alpha": {"lora_alpha": 6},
    "rslora": {"lora_alpha": 6, "use_rslora": True},
    "patterns": {
        "rank_pattern": {"to_q": 2, "conv_in": 3, r"mid_block\..*\.to_k": 1},
        "alpha_pattern": {r".*attn2\.to_(k|v)": 9, "up_blocks.1.resnets.0.conv1": 5},
    },
}


@pytest.mark.parametrize("case", CONFIGS)
def test_what_diffusers_saves_with_its_metadata_is_what_it_loads(case: str, tmp_path: Path) -> None:
    chosen = {"r": 4, "lora_alpha": 4} | CONFIGS[case]
    config = LoraConfig(**chosen, target_modules=[*LINEAR, *CONVOLUTIONS])
    unet = with_adapter(UNet2DConditionModel(**TINY), config)
    encoder = encoder_with_adapter(LoraConfig(r=3, lora_alpha=5, target_modules=ENCODER))
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(unet),
        text_encoder_lora_layers=encoder_tensors(encoder),
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
        text_encoder_lora_adapter_metadata=encoder.peft_config["default"].to_dict(),
    )
    expected = loaded(tmp_path)
    assert_same(read(tmp_path / NAME), expected | prefixed("text_encoder", encoder))


def without_metadata(tensors: Tensors) -> Tensors:
    return tensors


def old_processors(tensors: Tensors) -> Tensors:
    """Spell attention as diffusers did before 0.22: `attn1.processor.to_out_lora.down`."""
    return {
        re.sub(
            r"\.(to_[qkv]|to_out)(\.0)?\.lora_(A|B)\.weight",
            lambda m: f".processor.{m[1]}_lora.{'down' if m[3] == 'A' else 'up'}.weight",
            key,
        ): value
        for key, value in tensors.items()
    }


SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "peft's halves": without_metadata,
    "up and down": state_dict_utils.convert_state_dict_to_diffusers,
    "processors": old_processors,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_diffusers_is_what_it_loads(spelling: str, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    unet = with_adapter(UNet2DConditionModel(**TINY), config)
    StableDiffusionLoraLoaderMixin.save_lora_weights(
        tmp_path, unet_lora_layers=SPELLINGS[spelling](get_peft_model_state_dict(unet))
    )
    expected = loaded(tmp_path)
    assert_same(expected, prefixed("unet", unet))
    assert_same(read(tmp_path / NAME), expected)
    row = inspect(tmp_path / NAME, AdapterReader())
    assert row.family == "diffusers"
    assert row.notes == (f"alpha=assumed 1 x in {len(expected)} modules: the file states none",)


@pytest.mark.parametrize("spelling", ["peft", "linear layer", "to_q"])
def test_every_spelling_of_a_text_encoder_is_the_same_update(spelling: str, tmp_path: Path) -> None:
    config = LoraConfig(
        r=4, lora_alpha=4, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]
    )
    encoder = encoder_with_adapter(config)
    tensors = encoder_tensors(encoder)
    if spelling == "linear layer":
        tensors = state_dict_utils.convert_state_dict_to_diffusers(tensors)
    if spelling == "to_q":
        tensors = {
            re.sub(
                r"(q|k|v|out)_proj\.lora_(A|B)",
                lambda m: f"to_{m[1]}_lora.{'down' if m[2] == 'A' else 'up'}",
                k,
            ): v
            for k, v in tensors.items()
        }
    StableDiffusionLoraLoaderMixin.save_lora_weights(tmp_path, text_encoder_lora_layers=tensors)
    assert_same(read(tmp_path / NAME), prefixed("text_encoder", encoder))


def test_an_adapter_that_a_model_saves_by_itself_is_read(tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=6, target_modules=LINEAR, rank_pattern={"to_q": 2})
    unet = with_adapter(UNet2DConditionModel(**TINY), config)
    unet.save_lora_adapter(tmp_path, adapter_name="default")
    other = UNet2DConditionModel(**TINY)
    other.load_lora_adapter(tmp_path, prefix=None, weight_name=NAME)
    assert_same(read(tmp_path / NAME), prefixed("unet", other))
