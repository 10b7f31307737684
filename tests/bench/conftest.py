"""What the tests of `wsa bench` share: a stranger's cases, and a machine that is quick to rate."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from tests.conftest import InstallPlugin

from wsa import cli
from wsa.bench import machine

Bench = Callable[..., int]

# Three contenders for doubling; what a test wants otherwise is put in place of these words.
STRANGER = """
import torch
from wsa import Case, Target, hookimpl

called = []

def inputs(setting):
    return torch.arange(1.0, 1.0 + 4 * setting.adapters).view(-1, 4)

def quick(x):
    return {"twice": 2 * x}

def loop(x):
    called.append("loop")
    return {"twice": torch.stack([torch.stack([2 * entry for entry in row]) for row in x])}

def wrong(x):
    called.append("wrong")
    return WRONG

@hookimpl
def wsa_bench_cases():
    return [Case(
        name="doubling",
        inputs=inputs,
        reference=lambda x: TRUTH,
        contenders=dict(sorted(
            {"quick": quick, "eager": quick, "loop": loop, "wrong": wrong}.items(),
            key=lambda each: each[0] != "FIRST",
        )),
        shape=lambda x: " x ".join(map(str, x.shape)),
        bytes=lambda x: SIZE,
        flops=lambda x: 2.0 * x.numel(),
        targets=(Target(("quick",), "loop", TIMES),),
        MORE
    )]
"""


AS_USUAL: dict[str, object] = {
    "truth": '{"twice": 2 * x.double()}',
    "wrong": "quick(x)",
    "times": 1.0,
    "first": "",
    "size": "x.nbytes",
    "more": "",
}


@pytest.fixture(autouse=True)
def _small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.COPY_BYTES, "cpu", 1 << 20)
    monkeypatch.setitem(machine.PRODUCT, "cpu", (32, torch.float32))


@pytest.fixture
def stranger(install_plugin: InstallPlugin) -> Callable[..., None]:
    """Install a stranger's case `doubling`, with the parts of it that a test wants otherwise."""

    def install(**change: object) -> None:
        source = STRANGER
        for word, text in (AS_USUAL | change).items():
            source = source.replace(word.upper(), str(text))
        install_plugin("stranger", source=source, group="wsa.bench")

    return install


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Call `wsa bench` in this process and return its exit code."""

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["wsa", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    return call
