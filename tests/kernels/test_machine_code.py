from __future__ import annotations

import importlib
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from wsa_kernels import fused
from wsa_kernels.fused.table import Build

TOOL = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
FILES = sorted(Path(str(fused.__file__)).parent.glob("*.py"))
BUILDS = [
    build
    for path in FILES
    for build in getattr(importlib.import_module(f"wsa_kernels.fused.{path.stem}"), "BUILDS", ())
]
# an A100 and an H100 or H200; more shared memory than this no block of either can have
TARGETS = [80, 90]
SHARED_BYTES = {80: 163 << 10, 90: 227 << 10}


def named(build: Build) -> str:
    constants = "-".join(str(value) for value in build.constants.values())
    return f"{build.kernel.__name__}-{next(iter(build.types.values()))}-{constants}"


@cache
def compiled(index: int, target: int) -> Any:
    """Compile without a device; pointers and rows promise the alignment a launch finds."""
    build, types, constants, promises = BUILDS[index], {}, {}, {}
    for place, name in enumerate(build.kernel.arg_names):
        types[name] = build.types.get(name, "constexpr")
        if name in build.constants:
            constants[(place,)] = build.constants[name]
        elif types[name].startswith("*") or name in ("row_stride", "ordered_stride"):
            promises[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(build.kernel, types, constants, promises)
    options = {"num_warps": build.warps}
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)


def dump(kernel: Any, option: str, folder: Path) -> str:
    path = folder / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    command = [str(TOOL), option, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("index", range(len(BUILDS)), ids=lambda i: named(BUILDS[i]))
def test_a_kernel_compiles_within_its_budget(index: int, target: int, tmp_path: Path) -> None:
    build, kernel = BUILDS[index], compiled(index, target)
    usage = dump(kernel, "-res-usage", tmp_path)
    registers, stack, local = (
        int(re.findall(rf"{name}:(\d+)", usage)[-1]) for name in ("REG", "STACK", "LOCAL")
    )
    assert (stack, local) == (0, 0), usage
    assert registers <= build.registers, usage
    assert kernel.metadata.shared <= SHARED_BYTES[target]
    # a mask may be read in another order than what it masks: placing.py
    assert not re.search(r"tt\.histogram %[^ ]+, %", kernel.asm["ttgir"])
    code = dump(kernel, "-sass", tmp_path)
    assert not re.search(rf"\b({'|'.join(('LDL', 'STL', *build.absent))})\b", code)
    wanted = [each for each in build.instructions if target == 90 or each != "HGMMA"]
    assert all(each in code for each in wanted), wanted
