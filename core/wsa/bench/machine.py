"""Machine: what is measured on, and the two rates that nothing on it can pass."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from wsa.bench.clock import Clock

PACKAGES = ("wsa", "torch", "triton", "numpy", "scipy", "pytest-benchmark")
ROUNDS = 7
# Past every cache: 256 MiB on the CPU, 4 GiB on CUDA; read and written both count.
COPY_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}
# Edge of the square matrices, and their dtype.
PRODUCT = {"cpu": (1024, torch.float32), "cuda": (8192, torch.bfloat16)}


@dataclass(frozen=True)
class Rates:
    """The machine's own copy and matrix product, measured in this process."""

    copy: float  # bytes per second, read + written
    product: float  # floating-point operations per second
    # the fastest round's, without what other processes took of it: what gates compare with
    best_copy: float
    best_product: float


def measure_rates(device: str, clock: Clock) -> Rates:
    """Measure the copy and the matrix product, on random data."""
    copy, best_copy = _measured(clock, copier(device))
    product, best_product = _measured(clock, multiplier(device))
    size, operations = COPY_BYTES[device], product_flops(device)
    return Rates(size / copy, operations / product, size / best_copy, operations / best_product)


def copier(device: str) -> Callable[[], object]:
    """Return a call that reads and writes `COPY_BYTES` together."""
    source = torch.randn(COPY_BYTES[device] // 8, device=device)  # half of them, in float32
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def multiplier(device: str) -> Callable[[], object]:
    """Return a call that multiplies two square matrices."""
    edge, dtype = PRODUCT[device]
    left = torch.randn(edge, edge, device=device).to(dtype)
    right = torch.randn(edge, edge, device=device).to(dtype)
    return lambda: left @ right


def product_flops(device: str) -> float:
    """Return the operations of one product."""
    return 2.0 * PRODUCT[device][0] ** 3


def _measured(clock: Clock, call: Callable[[], object]) -> tuple[float, float]:
    """Return the median round on the wall, and the fastest round's own time."""
    clock.seconds(call)
    rounds = [(clock.seconds(call), clock.last_own()) for _ in range(ROUNDS)]
    wall, own = zip(*((taken, taken if own is None else own) for taken, own in rounds), strict=True)
    return statistics.median(wall), min(own)


def describe_machine(device: str, threads: int) -> dict[str, Any]:
    """Say what this is measured on: the device, its threads, and every version that matters."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "kind": device,
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "versions": {name: _version(name) for name in PACKAGES},
    }


def describe_commit() -> dict[str, Any]:
    """Say which commit of wsa this is; None where it was not installed from a checkout."""
    # an installed copy may lie within another project's checkout
    mine = _git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = _git("rev-parse", "HEAD") if mine else None
    return {"id": commit, "dirty": bool(_git("status", "--porcelain")) if commit else None}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    here = str(Path(__file__).parent)
    try:
        done = subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
