from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig
from tests.formats import writers
from tests.formats.writers import assert_same, by_peft, read

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
        tensors = writers.load_file(by_peft(tmp_path / case, LYCORIS[case]()).path)
        halves[case] = {key.rpartition("lokr_")[2] for key in tensors if "q_proj" in key}
    assert halves["lokr, second half factored"] == {"w1", "w2_a", "w2_b"}
    assert halves["lokr, both halves factored"] == {"w1_a", "w1_b", "w2_a", "w2_b"}
    assert halves["lokr, both halves whole"] == {"w1", "w2"}
