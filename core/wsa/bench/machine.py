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


def measure_rates(device: str, clock: Clock) -> Rates:
    """Measure the copy and the matrix product, on random data."""
    return Rates(measure_copy(device, clock), _measure_product(device, clock))


def measure_copy(device: str, clock: Clock) -> float:
    """Return the bytes per second of a copy, those read and those written."""
    return COPY_BYTES[device] / _median(clock, copier(device))


def copier(device: str) -> Callable[[], object]:
    """Return a call that reads and writes `COPY_BYTES` together."""
    source = torch.randn(COPY_BYTES[device] // 8, device=device)  # half of them, in float32
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _measure_product(device: str, clock: Clock) -> float:
    edge, dtype = PRODUCT[device]
    left = torch.randn(edge, edge, device=device).to(dtype)
    right = torch.randn(edge, edge, device=device).to(dtype)
    return float(2 * edge**3 / _median(clock, lambda: left @ right))


def _median(clock: Clock, call: Callable[[], object]) -> float:
    clock.seconds(call)
    return statistics.median(clock.seconds(call) for _ in range(ROUNDS))


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
