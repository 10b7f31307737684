"""What decides bits beside the job itself: device, threads, versions, precision, compilation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def precision(amp: bool | None, device: torch.device) -> torch.dtype:
    """Return the type of the products: float32, or half of it where the device gains.

    On the CPU only when asked for: most have no bfloat16 units and would run at half the speed.
    """
    if amp is False or (amp is None and device.type != "cuda"):
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def open_to_compiling(wish: bool | None, device: torch.device) -> bool:
    """Tell whether a measurement is to decide on compiling.

    On the CPU never unasked: products dominate there, and a compiled step has the same ones.
    """
    return wish is None and device.type == "cuda"


def conditions(
    device: torch.device, dtype: torch.dtype, compiled: bool, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that may change bits between two sittings of one job.

    `more` is what only some trainings have: a graph, columns that pad, a smaller batch.
    """
    return {
        "torch": str(torch.__version__),
        "device": _describe(device),
        "threads": torch.get_num_threads(),
        "amp": None if dtype == torch.float32 else str(dtype).removeprefix("torch."),
        "compile": compiled,
        **more,
    }


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
