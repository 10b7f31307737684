from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    DeloraConfig,
    GraloraConfig,
    HiraConfig,
    HRAConfig,
    IA3Config,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    VeraConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from tests.formats import writers
from tests.formats.writers import assert_same, by_peft, read, rewrite

from wsa.formats.adapter import AdapterReader
from wsa.formats.inspection import inspect
from wsa.formats.refusal import BadFile
from wsa.population.reading import Reading

LINEAR = ["q_proj", "v_proj"]
CONVOLUTIONS = ["conv", "point", "line", "volume"]
LORA: dict[str, dict[str, Any]] = {
    "alpha": {"target_modules": LINEAR, "lora_alpha": 6},
    "alpha as small as the rank": {"target_modules": LINEAR, "lora_alpha": 4},
    "rslora": {"target_modules": LINEAR, "lora_alpha": 6, "use_rslora": True},
    "rank_pattern": {"target_modules": LINEAR, "rank_pattern": {"q_proj": 2, "blocks.1.v_proj": 3}},
    "alpha_pattern": {"target_modules": LINEAR, "alpha_pattern": {"blocks.0.q_proj": 5}},
    "patterns that are regular expressions": {
        "target_modules": LINEAR,
        "rank_pattern": {r"blocks\.[0-9]+\.q_proj": 2, r"^blocks\.(0|1)\.v_(a|proj)": 3},
        "alpha_pattern": {r"^blocks\.1\..*": 7, r"blocks.0.(q|v)_proj$": 9},
    },
    "patterns of which several match": {
        "target_modules": LINEAR,
        "alpha_pattern": {r"v_proj": 8, r"blocks\.0\..*": 5, r".*\.1\..+": 3, r"(\w+\.)+q_proj": 6},
    },
    "rslora with patterns": {
        "target_modules": LINEAR,
        "use_rslora": True,
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"v_proj": 3},
    },
    "convolutions": {"target_modules": CONVOLUTIONS, "lora_alpha": 3},
    "an embedding": {"target_modules": ["tokens"], "lora_alpha": 3},
    "fan_in_fan_out": {"target_modules": ["joined"], "fan_in_fan_out": True, "lora_alpha": 3},
    "every kind at once": {"target_modules": [*LINEAR, *CONVOLUTIONS, "tokens"], "lora_alpha": 3},
}


@pytest.mark.parametrize("case", LORA)
def test_a_lora_of_peft_is_the_update_that_peft_makes(case: str, tmp_path: Path) -> None:
    written = by_peft(tmp_path, LoraConfig(r=4, **LORA[case]))
    assert_same(read(written.path), written.updates)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_any_stored_type_is_read_without_a_loss(dtype: torch.dtype, tmp_path: Path) -> None:
    config = LoraConfig(r=4, lora_alpha=6, target_modules=[*LINEAR, "conv"])
    written = by_peft(tmp_path, config, dtype)
    assert_same(read(written.path), written.updates)


LYCORIS: dict[str, Callable[..., Any]] = {
    "loha": lambda: LoHaConfig(r=3, alpha=5, target_modules=LINEAR),
    "loha, patterns": lambda: LoHaConfig(
        r=3, target_modules=LINEAR, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 7}
    ),
    "loha, wider than the matrix": lambda: LoHaConfig(r=4, alpha=5, target_modules=LINEAR),
    "loha, convolution": lambda: LoHaConfig(r=3, alpha=5, target_modules=["conv", "point"]),
    "loha, effective convolution": lambda: LoHaConfig(
        r=3, alpha=5, target_modules=["conv"], use_effective_conv2d=True
    ),
    "lokr, second half factored": lambda: LoKrConfig(r=1, alpha=5, target_modules=LINEAR),
    "lokr, both halves factored": lambda: LoKrConfig(
        r=1, alpha=5, target_modules=LINEAR, decompose_both=True, decompose_factor=4
    ),
    "lokr, both halves whole": lambda: LoKrConfig(r=4, alpha=5, target_modules=LINEAR),
    "lokr, patterns": lambda: LoKrConfig(
        r=1, target_modules=LINEAR, rank_pattern={"q_proj": 4}, alpha_pattern={"v_proj": 7}
    ),
    "lokr, convolution": lambda: LoKrConfig(r=1, alpha=5, target_modules=["conv", "point"]),
    "lokr, whole convolution": lambda: LoKrConfig(r=8, alpha=5, target_modules=["conv"]),
    "lokr, effective convolution": lambda: LoKrConfig(
        r=1, alpha=5, target_modules=["conv"], use_effective_conv2d=True
    ),
}


@pytest.mark.parametrize("case", LYCORIS)
def test_a_loha_or_lokr_of_peft_is_the_update_that_peft_makes(case: str, tmp_path: Path) -> None:
    written = by_peft(tmp_path, LYCORIS[case]())
    assert_same(read(written.path), written.updates)


def test_the_cases_of_lokr_store_what_they_are_called(tmp_path: Path) -> None:
    halves = {}
    for case in LYCORIS:
        tensors = load_file(by_peft(tmp_path / case, LYCORIS[case]()).path)
        halves[case] = {key.rpartition("lokr_")[2] for key in tensors if "q_proj" in key}
    assert halves["lokr, second half factored"] == {"w1", "w2_a", "w2_b"}
    assert halves["lokr, both halves factored"] == {"w1_a", "w1_b", "w2_a", "w2_b"}
    assert halves["lokr, both halves whole"] == {"w1", "w2"}


def in_memory_names(tensors: writers.Tensors) -> writers.Tensors:
    """Put the adapter's name where peft keeps it in memory, as `model.state_dict()` does."""
    return {
        re.sub(r"((lora|hada|lokr)_\w+)(\.weight)?$", r"\1.default\3", key): value
        for key, value in tensors.items()
    }


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, lora_alpha=6, target_modules=[*LINEAR, "conv", "tokens"]),
        LoHaConfig(r=3, alpha=5, target_modules=LINEAR),
        LoKrConfig(r=1, alpha=5, target_modules=LINEAR),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_an_adapters_name_inside_the_keys_changes_nothing(config: Any, tmp_path: Path) -> None:
    written = by_peft(tmp_path, config)
    rewrite(written.path, in_memory_names)
    assert any(".default" in key for key in load_file(written.path))
    assert_same(read(written.path), written.updates)


def test_without_a_configuration_alpha_is_assumed_and_said_so(tmp_path: Path) -> None:
    written = by_peft(tmp_path, LoraConfig(r=4, lora_alpha=4, target_modules=LINEAR))
    (tmp_path / writers.CONFIG).unlink()
    assert_same(read(written.path), written.updates)
    row = inspect(written.path, AdapterReader())
    assert row.notes == ("alpha=assumed 1 x in 4 modules: the file states none",)


# what makes the file, and what it is called with its configuration and without
UNSUPPORTED: dict[str, tuple[partial[Any], str, str]] = {
    "DoRA": (partial(LoraConfig, use_dora=True), "DoRA", "DoRA in 4"),
    "lora_bias": (partial(LoraConfig, lora_bias=True), "LoRA with a bias", "LoRA with a bias in 4"),
    "AdaLoRA": (partial(AdaLoraConfig, total_step=10), "'ADALORA'", "AdaLoRA in 4"),
    "OFT": (partial(OFTConfig, oft_block_size=4), "'OFT'", "OFT or BOFT in 4"),
    "BOFT": (partial(BOFTConfig, boft_block_size=2), "'BOFT'", "OFT or BOFT in 4"),
    "IA3": (partial(IA3Config, feedforward_modules=[]), "'IA3'", "IA3 in 4"),
    "VeRA": (partial(VeraConfig, r=4, target_modules=["q_proj"]), "'VERA'", "VeRA in 2"),
    "HRA": (partial(HRAConfig, r=4), "'HRA'", "4 keys match no known format"),
    "GraLoRA": (partial(GraloraConfig, r=2), "'GRALORA'", "8 keys match no known format"),
    "DeLoRA": (partial(DeloraConfig, r=2), "'DELORA'", "16 keys match no known format"),
    "HiRA": (partial(HiraConfig, r=2), "'HIRA'", "8 keys match no known format"),
}


def refusal(path: Path, allow_partial: bool = False) -> str:
    with pytest.raises(BadFile) as refused:
        AdapterReader(allow_partial).describe(path)
    return str(refused.value)


@pytest.mark.filterwarnings("ignore:Failed to load the CUDA", "ignore:Setting boft")
@pytest.mark.filterwarnings("ignore:Adapter 'default'")
@pytest.mark.parametrize("case", UNSUPPORTED)
def test_a_kind_that_is_not_read_is_named_and_never_taken_for_another(
    case: str, tmp_path: Path
) -> None:
    make, configured, bare = UNSUPPORTED[case]
    written = tmp_path / writers.ADAPTER
    chosen = {"target_modules": LINEAR} | make.keywords
    get_peft_model(writers.Small(), make.func(**chosen)).save_pretrained(tmp_path)
    assert f"unsupported: {configured}" in refusal(written)
    (tmp_path / writers.CONFIG).unlink()
    assert bare in refusal(written)
    left = re.escape("it holds no matrix that wsa can read (") + r"([^:]+: [0-9]+ keys(, )?)+\)"
    assert re.fullmatch(left, refusal(written, allow_partial=True))


def test_a_lora_of_parameters_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    config = LoraConfig(r=4, target_modules=[], target_parameters=["blocks.0.q_proj.weight"])
    get_peft_model(writers.Small(), config).save_pretrained(tmp_path)
    for allow_partial in (False, True):
        told = refusal(tmp_path / writers.ADAPTER, allow_partial)
        assert "unsupported: LoRA of parameters (target_parameters)" in told


BESIDE: dict[str, tuple[dict[str, Any], int]] = {
    "bias": ({"bias": "lora_only"}, 4),
    "modules_to_save": ({"modules_to_save": ["classifier"]}, 2),
    "trainable_token_indices": ({"trainable_token_indices": {"tokens": [1, 2]}}, 1),
}


@pytest.mark.parametrize("setting", BESIDE)
def test_what_peft_stores_beside_a_lora_is_named_or_left_out(setting: str, tmp_path: Path) -> None:
    more, count = BESIDE[setting]
    written = by_peft(tmp_path, LoraConfig(r=4, lora_alpha=6, target_modules=LINEAR, **more))
    told = refusal(written.path)
    assert re.match(rf"{count} \(.*\) of {8 + count} keys match no known format", told)
    assert f"its configuration sets {setting})" in told
    assert_same(read(written.path, Reading(allow_partial=True)), written.updates)
    row = inspect(written.path, AdapterReader(allow_partial=True))
    assert (len(row.skipped), row.keys, row.modules) == (count, 8 + count, 4)


def test_of_modules_with_and_without_dora_the_plain_ones_are_kept(tmp_path: Path) -> None:
    written = by_peft(tmp_path, LoraConfig(r=4, lora_alpha=4, target_modules=LINEAR))
    (tmp_path / writers.CONFIG).unlink()
    stem = "base_model.model.blocks.0.q_proj"
    magnitude = {f"{stem}.lora_magnitude_vector": torch.ones(8)}
    rewrite(written.path, lambda tensors: tensors | magnitude)
    assert "unsupported: DoRA in 1 " in refusal(written.path)
    del written.updates["blocks.0.q_proj"]
    assert_same(read(written.path, Reading(allow_partial=True)), written.updates)
    skipped = AdapterReader(allow_partial=True).describe(written.path).form.skipped
    assert sorted(skipped) == sorted(
        [f"{stem}.lora_A.weight", f"{stem}.lora_B.weight", f"{stem}.lora_magnitude_vector"]
    )


def test_a_rank_that_the_tensors_do_not_have_is_refused(tmp_path: Path) -> None:
    written = by_peft(tmp_path, LoraConfig(r=4, target_modules=LINEAR))
    writers.reconfigure(tmp_path, rank_pattern={"v_proj": 2})
    told = "adapter_config.json says rank 2 for 'blocks.0.v_proj', its tensors 4"
    assert refusal(written.path) == told
