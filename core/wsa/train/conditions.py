"""What decides bits beside the job itself: device, threads, versions, precision, compilation."""

from __future__ import annotations

from typing import Any

import torch

# A step that is compiled saves at most about a millisecond of launches; compiling costs 10-40 s.
STEPS_WORTH_COMPILING = 40_000


def precision(amp: bool | None, device: torch.device) -> torch.dtype:
    """Return the type of the products: float32, or half of it where the device gains.

    On the CPU only when asked for: most have no bfloat16 units and would run at half the speed.
    """
    if amp is False or (amp is None and device.type != "cuda"):
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def compiles(wish: bool | None, device: torch.device, steps: int) -> bool:
    """Tell whether at most `steps` training steps are worth a compiled one.

    On the CPU never unasked: products dominate there, and a compiled step has the same ones.
    """
    if wish is None:
        return device.type == "cuda" and steps >= STEPS_WORTH_COMPILING
    return wish


def conditions(device: torch.device, dtype: torch.dtype, compiled: bool) -> dict[str, Any]:
    """Return everything that may change bits between two sittings of one job."""
    return {
        "torch": str(torch.__version__),
        "device": _describe(device),
        "threads": torch.get_num_threads(),
        "amp": None if dtype == torch.float32 else str(dtype).removeprefix("torch."),
        "compile": compiled,
    }


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {torch.backends.cpu.get_cpu_capability()}"
