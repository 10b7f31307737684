from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models import UNet2DConditionModel
from lycoris.kohya import LycorisNetworkKohya
from lycoris.kohya import create_network as create_kohya
from lycoris.wrapper import LycorisNetwork, create_lycoris
from safetensors.torch import load_file
from tests.formats import writers
from tests.formats.conftest import clip
from tests.formats.writers import Tensors, assert_same, read
from torch import Tensor, nn

from wsa.formats.adapter import AdapterReader
from wsa.formats.inspection import inspect
from wsa.formats.refusal import BadFile
from wsa.population.reading import Reading

TINY: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "locon": {"algo": "locon", "conv_dim": 3, "conv_alpha": 2},
    "locon, Tucker": {"algo": "locon", "use_tucker": True},
    "locon, rs_lora": {"algo": "locon", "rs_lora": True},
    "locon, scalar": {"algo": "locon", "use_scalar": True},
    "loha": {"algo": "loha"},
    "loha, Tucker": {"algo": "loha", "use_tucker": True},
    "loha, rs_lora": {"algo": "loha", "rs_lora": True},
    "lokr": {"algo": "lokr"},
    "lokr, rs_lora": {"algo": "lokr", "linear_dim": 1, "conv_dim": 1, "rs_lora": True},
    "lokr, factored": {"algo": "lokr", "linear_dim": 1, "conv_dim": 1, "factor": 4},
    "lokr, both factored": {
        "algo": "lokr",
        "linear_dim": 1,
        "conv_dim": 1,
        "factor": 4,
        "decompose_both": True,
    },
    "lokr, Tucker": {"algo": "lokr", "linear_dim": 1, "conv_dim": 1, "use_tucker": True},
    "lokr, whole": {"algo": "lokr", "full_matrix": True},
    "lokr, unbalanced": {
        "algo": "lokr",
        "linear_dim": 1,
        "conv_dim": 1,
        "decompose_both": True,
        "unbalanced_factorization": True,
    },
}


@pytest.fixture(autouse=True)
def presets() -> Iterator[None]:
    """LyCORIS keeps what a preset said in its classes."""
    kept = [(each, dict(vars(each))) for each in (LycorisNetwork, LycorisNetworkKohya)]
    yield
    for each, values in kept:
        for name in [name for name in values if name.isupper()]:
            setattr(each, name, values[name])


def difference(wrapped: Any) -> Tensor:
    """Return what a module's update does to unit inputs, as a matrix in float64."""
    original = wrapped.org_module[0]
    kernel = getattr(original, "kernel_size", ())
    inputs = original.weight[0].numel()
    units = torch.eye(inputs, dtype=torch.float64).reshape(inputs, *original.weight.shape[1:])
    place: tuple[Any, ...] = (slice(None), slice(None))
    if kernel:
        # the first output whose window starts inside the picture sees the unit, shifted there
        (padding, _), (stride, _) = original.padding, original.stride
        output = -(-padding // stride)
        start = stride * output - padding
        units = nn.functional.pad(units, (start, 0, start, 0))
        place = (*place, output, output)
    applied = wrapped.forward(units) - wrapped.org_forward(units)
    matrix: Tensor = applied[place].T
    return matrix


def updates(network: Any, names: dict[int, str]) -> Tensors:
    network.double().eval()
    with torch.no_grad():
        return {names[id(lora.org_module[0])]: difference(lora) for lora in network.loras}


def save(path: Path, unet: nn.Module, **options: Any) -> Any:
    """Save an adapter with LyCORIS' generic wrapper."""
    network = create_lycoris(unet, 1.0, **{"linear_dim": 2, "linear_alpha": 3} | options)
    network.apply_to()
    writers.randomise(network)
    network.save_weights(str(path), torch.float32, {})
    return network


def by_lycoris(path: Path, **options: Any) -> Tensors:
    """Save an adapter of a tiny UNet, and return what it adds."""
    unet = UNet2DConditionModel(**TINY)
    network = save(path, unet, **options)
    unet.double()
    return updates(network, {id(m): f"unet.{name}" for name, m in unet.named_modules()})


@pytest.mark.parametrize("case", ALGORITHMS)
def test_a_file_of_lycoris_is_what_its_modules_add(case: str, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    expected = by_lycoris(path, **ALGORITHMS[case])
    assert_same(read(path), expected)


STORED = {
    "locon, Tucker": {"alpha", "lora_up.weight", "lora_down.weight", "lora_mid.weight"},
    "loha, Tucker": {"alpha", *(f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b"))}
    | {"hada_t1", "hada_t2"},
    "lokr": {"alpha", "lokr_w1", "lokr_w2"},
    "lokr, factored": {"alpha", "lokr_w1", "lokr_w2_a", "lokr_w2_b"},
    "lokr, both factored": {"alpha", "lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"},
    "lokr, Tucker": {"alpha", "lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2"},
    "lokr, unbalanced": {"alpha", "lokr_w1_a", "lokr_w1_b", "lokr_w2"},
}


@pytest.mark.parametrize("case", STORED)
def test_each_case_stores_what_it_is_called(case: str, tmp_path: Path) -> None:
    by_lycoris(tmp_path / "one.safetensors", **ALGORITHMS[case])
    stored: dict[str, set[str]] = {}
    for key in load_file(tmp_path / "one.safetensors"):
        module, _, half = key.partition(".")
        stored.setdefault(module, set()).add(half)
    assert STORED[case] in stored.values(), stored


@pytest.mark.parametrize("algorithm", ["locon", "loha", "lokr"])
def test_a_file_of_lycoris_for_sd_scripts_is_what_its_modules_add(
    algorithm: str, tmp_path: Path
) -> None:
    unet, encoder, path = UNet2DConditionModel(**TINY), clip(), tmp_path / "one.safetensors"
    options = {"algo": algorithm, "conv_dim": 1, "factor": 4, "preset": "attn-mlp"}
    network = create_kohya(1.0, 1, 3, None, encoder, unet, **options)
    network.apply_to(encoder, unet, True, True)
    writers.randomise(network)
    network.save_weights(str(path), torch.float32, {})
    names = {id(m): f"unet.{name}" for name, m in unet.double().named_modules()}
    names |= {id(m): f"text_encoder.{name}" for name, m in encoder.double().named_modules()}
    assert_same(read(path), updates(network, names))


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "glora": ({"algo": "glora"}, "GLoRA"),
    "full": ({"algo": "full"}, "full difference"),
    "diag-oft": ({"algo": "diag-oft", "block_size": 2}, "OFT or BOFT"),
    "boft": ({"algo": "boft", "block_size": 2}, "OFT or BOFT"),
    "ia3": ({"algo": "ia3"}, "IA3"),
    "tlora": ({"algo": "tlora"}, "T-LoRA"),
    "dora": ({"algo": "locon", "dora_wd": True}, "DoRA"),
    "loha, dora": ({"algo": "loha", "dora_wd": True}, "DoRA"),
    "lokr, dora": ({"algo": "lokr", "dora_wd": True}, "DoRA"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_an_algorithm_that_is_not_read_is_named_and_never_taken_for_another(
    case: str, tmp_path: Path
) -> None:
    options, kind = UNSUPPORTED[case]
    save(tmp_path / "one.safetensors", nn.Sequential(nn.Linear(16, 16)), **options)
    told = (f"unsupported: {kind} in ", "it holds no matrix that wsa can read")
    for allow_partial, start in zip((False, True), told, strict=True):
        row = inspect(tmp_path / "one.safetensors", AdapterReader(allow_partial))
        assert row.refused and row.refused.startswith(start), row.refused


def test_norms_that_are_trained_beside_are_named_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save(path, UNet2DConditionModel(**TINY), algo="locon", train_norm=True)
    with pytest.raises(BadFile, match="unsupported: norm difference in"):
        AdapterReader().describe(path)
    found = read(path, Reading(allow_partial=True))
    assert found.keys() == by_lycoris(path, algo="locon").keys()
