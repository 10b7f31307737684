from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from wsa.experiment.config import RunConfig
from wsa.experiment.preparation import prepare_extraction

Tensors = dict[str, Tensor]


def rows(zoo: Path) -> list[Tensors]:
    """Return every adapter's 128 matrices by their stored names."""
    found = datasets.load_from_disk(zoo)
    names = [name for name in found.column_names if name.endswith(".weight")]
    return [{name: torch.tensor(row[name]) for name in names} for row in found]


def diffusers(folder: Path, row: int, tensors: Tensors) -> None:
    save_file(tensors, folder / f"{row:02}.safetensors")


def kohya(folder: Path, row: int, tensors: Tensors) -> None:
    found: Tensors = {}
    for name, tensor in tensors.items():
        stem, _, half = name.removesuffix(".weight").rpartition(".lora.")
        joined = f"lora_{stem.replace('.', '_')}"
        found[f"{joined}.lora_{half}.weight"] = tensor
        found[f"{joined}.alpha"] = torch.tensor(float(min(tensor.shape)))
    save_file(found, folder / f"{row:02}.safetensors", {"ss_network_dim": "3"})


def peft(folder: Path, row: int, tensors: Tensors) -> None:
    (folder / f"{row:02}").mkdir()
    rank = min(next(iter(tensors.values())).shape)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank}
    (folder / f"{row:02}" / "adapter_config.json").write_text(json.dumps(config))
    halves = {".lora.down.weight": ".lora_A.weight", ".lora.up.weight": ".lora_B.weight"}
    found = {}
    for name, tensor in tensors.items():
        suffix = next(suffix for suffix in halves if name.endswith(suffix))
        stem = name.removesuffix(suffix).removeprefix("unet.")
        found[f"base_model.model.{stem}{halves[suffix]}"] = tensor
    save_file(found, folder / f"{row:02}" / "adapter_model.safetensors")


def features(dataset: Path, view: str) -> tuple[list[str], Tensor]:
    config = RunConfig(
        dataset=str(dataset), plugins=("profile", "stats"), view=(view,), cache_features=False
    )
    extraction, requests, _ = prepare_extraction(config)
    extraction.ensure()
    found = [extraction.features(request) for request in requests]
    names = [column.name for each in found for column in each.columns]
    return names, torch.cat([each.values for each in found], 1)


@pytest.mark.parametrize("write", [diffusers, kohya, peft])
@pytest.mark.parametrize("view", ["factors", "delta"])
def test_trained_adapters_have_the_same_features_whoever_wrote_their_files(
    tiny_zoo: Path, tmp_path: Path, view: str, write: Callable[[Path, int, Tensors], None]
) -> None:
    for row, tensors in enumerate(rows(tiny_zoo)):
        write(tmp_path, row, tensors)
    names, values = features(tiny_zoo, view)
    found_names, found_values = features(tmp_path, view)
    assert found_names == names
    assert torch.equal(found_values, values)
