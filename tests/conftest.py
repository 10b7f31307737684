from __future__ import annotations

import getpass
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# read once, when the libraries are imported: nothing here may reach for the network
os.environ["HF_HUB_OFFLINE"] = "1"
# one cache of compiled code for all tests, torch's usual one: each test has a user cache of its own
os.environ.setdefault(
    "TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
)
os.environ.setdefault("TRITON_CACHE_DIR", str(Path.home() / ".triton" / "cache"))

import datasets
import numpy as np
import pytest
import torch

MODULES = [
    f"unet.blocks.{b}.{a}.to_{p}" for b in range(2) for a in ("attn1", "attn2") for p in "qv"
]
WIDTH, TEXT_WIDTH = 12, 7

MakeDataset = Callable[..., Path]


@pytest.fixture(autouse=True)
def _private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One thread, own caches, no network, and NaN in fresh memory that nobody wrote."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def lora_columns(n: int, rank: int, classes: int, seed: int) -> dict[str, Any]:
    """Draw factors whose up halves carry the class, as nested lists."""
    draw = np.random.default_rng(seed)
    label = np.arange(n) % classes
    direction = draw.normal(size=(classes, len(MODULES), WIDTH, 1))
    columns: dict[str, Any] = {}
    for m, module in enumerate(MODULES):
        width = TEXT_WIDTH if module.endswith("attn2.to_v") else WIDTH
        up = 0.3 * draw.normal(size=(n, WIDTH, rank)) + direction[label, m]
        down = draw.normal(size=(n, rank, width))
        columns[f"{module}.lora.down.weight"] = down.astype("float32").tolist()
        columns[f"{module}.lora.up.weight"] = up.astype("float32").tolist()
    columns["category_label"] = label.tolist()
    columns["category_name"] = [f"class {k}" for k in label]
    return columns


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Write a small population as a datasets folder; `change` edits its columns first."""

    def make(
        name: str = "population",
        n: int = 60,
        rank: int = 1,
        classes: int = 3,
        seed: int = 0,
        change: Callable[[dict[str, Any]], None] = lambda columns: None,
    ) -> Path:
        columns = lora_columns(n, rank, classes, seed)
        change(columns)
        datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / name)
        return tmp_path / name

    datasets.disable_progress_bars()
    return make


InstallPlugin = Callable[..., None]

PLUGIN = """
import torch
from wsa import Column, columns_of, hookimpl

class Given:
    name = "{name}"
    version = {version}

    def columns(self, layers):
        return columns_of(layers, ["feature"])

    def extract(self, batch):
        {body}

@hookimpl
def wsa_representations():
    return [Given()]
"""


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPlugin]:
    """Install a distribution with one plugin module, as pip would leave it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(
        name: str,
        body: str = "return batch.flat[:, :1].float().repeat(1, len(batch.layers))",
        source: str | None = None,
        distribution: str | None = None,
        version: int = 1,
        group: str = "wsa",
    ) -> None:
        owner = distribution or f"dist-{name}"
        module = f"module_{owner}_{name}".replace("-", "_")
        text = PLUGIN.format(name=name, body=body, version=version) if source is None else source
        (site / f"{module}.py").write_text(text)
        sys.modules.pop(module, None)
        information = site / f"{owner.replace('-', '_')}-1.0.dist-info"
        information.mkdir(exist_ok=True)
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        importlib.invalidate_caches()

    yield install
    for name in [name for name in sys.modules if name.startswith("module_")]:
        del sys.modules[name]
