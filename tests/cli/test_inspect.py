from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.inside import wsa
from tests.cli.test_command_line import Wsa, one_line
from tests.formats.writers import lora, raw, write_peft

from wsa.formats.adapter import AdapterReader
from wsa.formats.inspection import inspect

__all__ = ["wsa"]
UNET = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2"


def write_kohya(path: Path) -> Path:
    tensors: dict[str, torch.Tensor] = {}
    for number, (tail, width) in enumerate([("to_k", 768), ("to_v", 768), ("to_q", 640)]):
        up, down = lora(640, width, 4 + 4 * (number == 2), dtype=torch.float16)
        stem = f"{UNET}_{tail}"
        tensors |= {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}
        tensors[f"{stem}.alpha"] = torch.tensor(2.0)
    save_file(tensors, path, {"ss_network_dim": "4", "ss_base_model_version": "sd_v1"})
    return path


def rows(done: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_json_says_what_a_file_is_and_covers(wsa: Wsa, tmp_path: Path) -> None:
    path = write_kohya(tmp_path / "one.safetensors")
    done = wsa("inspect", "--json", path)
    assert done.returncode == 0, done.stderr
    (row,) = rows(done)
    assert row["reason"].startswith("attn2 reads a prompt of width 768; confirmed by ss_base")
    told = {
        "file": str(path),
        "refused": None,
        "family": "kohya",
        "base_model": "SD-1.5",
        "kinds": ["lora"],
        "modules": 3,
        "keys": 9,
        "coverage": 1,
        "skipped": [],
        "ranks": [4, 8],
        "alphas": [2],
        "scales": [0.25, 0.5],
        "dtypes": ["F16", "F32"],
        "notes": [],
        "metadata": {"ss_base_model_version": "sd_v1", "ss_network_dim": "4"},
    }
    assert {name: row[name] for name in told} == told


def test_the_table_says_it_in_words(wsa: Wsa, tmp_path: Path) -> None:
    write_kohya(tmp_path / "one.safetensors")
    shown = " ".join(wsa("inspect", tmp_path).stdout.split())
    for words in ("kohya: lora", "SD-1.5", "9 of 9 keys", "4, 8", "0.25, 0.5", "F16, F32"):
        assert words in shown.replace(" │ ", " "), shown
    assert "metadata ss_base_model_version='sd_v1', ss_network_dim='4'" in shown


def test_an_assumed_alpha_and_what_is_left_out_are_noted(wsa: Wsa, tmp_path: Path) -> None:
    path = write_peft(tmp_path / "one.safetensors")
    save_file(load_file(path) | {"base_model.model.more": torch.ones(2)}, path)
    told = wsa("inspect", path)
    assert told.returncode == 2
    assert "1 ('base_model.model.more') of 5 keys match no known format" in told.stdout
    partial = wsa("inspect", "--allow-partial", path)
    assert partial.returncode == 0
    assert "left out: 1 ('base_model.model.more')" in partial.stdout
    assert "alpha=assumed 1 x in 2 modules" in partial.stdout


def test_refused_files_stand_beside_the_others_and_the_exit_code_tells(
    wsa: Wsa, tmp_path: Path
) -> None:
    write_peft(tmp_path / "good.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 9)
    done = wsa("inspect", tmp_path)
    assert done.returncode == 2
    assert re.search(r"REFUSED .*/bad.safetensors'?: its header claims 0 bytes", done.stdout)
    assert "4 of 4 keys" in done.stdout
    assert [bool(row["refused"]) for row in rows(wsa("inspect", "--json", tmp_path))] == [
        True,
        False,
    ]


@pytest.mark.parametrize("alpha", [0.0, float("nan"), float("inf")])
def test_an_alpha_that_says_nothing_is_refused_as_a_run_would(
    wsa: Wsa, tmp_path: Path, alpha: float
) -> None:
    path = write_kohya(tmp_path / "one.safetensors")
    tensors = load_file(path)
    key = next(name for name in tensors if name.endswith(".alpha"))
    save_file({**tensors, key: torch.tensor(alpha)}, path)
    done = wsa("inspect", path, "--json")
    assert done.returncode == 2
    assert "needed one other than 0" in rows(done)[0]["refused"]


def test_a_file_that_is_none_and_a_path_that_is_not_there_are_told(
    wsa: Wsa, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("hello, this is no adapter")
    assert wsa("inspect", tmp_path / "text.txt").returncode == 2
    assert "nothing to inspect at nowhere" in one_line(wsa("inspect", "nowhere"), 2)


def test_a_pickle_is_told_how_to_convert_it(wsa: Wsa, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "one.bin")
    done = wsa("inspect", tmp_path / "one.bin")
    assert done.returncode == 2
    assert "convert it to safetensors" in done.stdout


def test_a_pickle_is_inspected_where_it_is_allowed(wsa: Wsa, tmp_path: Path) -> None:
    tensors = load_file(write_peft(tmp_path / "one.safetensors"))
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "two.bin")
    done = wsa("inspect", tmp_path / "two.bin", "--allow-pickle", "--json")
    assert done.returncode == 0
    row, twin = rows(done)[0], rows(wsa("inspect", tmp_path / "one.safetensors", "--json"))[0]
    assert row["file"] == str(tmp_path / "two.bin")
    own = {"file": "", "metadata": {}}
    assert row | own == twin | own
    assert "beside their weights: 1 ('epoch')" in done.stderr


def test_split_and_kept_fused_modules_are_counted_as_such(wsa: Wsa, tmp_path: Path) -> None:
    up, down = lora(36, 12)
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    path = tmp_path / "one.safetensors"
    save_file({f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down}, path)
    assert rows(wsa("inspect", "--json", path))[0]["modules"] == 3
    assert rows(wsa("inspect", "--json", "--keep-fused", path))[0]["modules"] == 1


def sparse(path: Path, width: int) -> None:
    """Write an adapter whose weights are a hole in the file, of a terabyte and more."""
    shapes = {"lora_down.weight": [16, width], "lora_up.weight": [width, 16], "alpha": []}
    header, start = {}, 0
    for half, shape in shapes.items():
        size = 4 * 16 * width if shape else 4
        offsets = [start, start + size]
        header[f"lora_unet_conv_in.{half}"] = {"dtype": "F32", "shape": shape}
        header[f"lora_unet_conv_in.{half}"]["data_offsets"] = offsets
        start += size
    path.write_bytes(raw(header))
    os.truncate(path, path.stat().st_size + start - 4)
    with path.open("ab") as file:
        file.write(torch.tensor(8.0).numpy().tobytes())


def test_no_weight_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse(tmp_path / "one.safetensors", 1 << 33)
    assert (tmp_path / "one.safetensors").stat().st_size > 1 << 40
    row = inspect(tmp_path / "one.safetensors", AdapterReader())
    assert (row.refused, row.ranks, row.scales) == (None, (16,), (0.5,))
