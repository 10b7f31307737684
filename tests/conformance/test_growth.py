"""What calls leave behind is seen, whatever the process had freed before."""

from __future__ import annotations

import ctypes

import pytest
import torch

from wsa.conformance.growth import STATM, growth

SIZE = 1 << 18
CPU = torch.device("cpu")


@pytest.fixture
def library() -> ctypes.CDLL:
    found = ctypes.CDLL(None)
    found.malloc.restype = ctypes.c_void_p
    found.free.argtypes = [ctypes.c_void_p]
    return found


@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell a process's size")
def test_a_leak_into_memory_that_was_freed_before_is_seen(library: ctypes.CDLL) -> None:
    freed = [library.malloc(SIZE) for _ in range(1500)]
    for memory in freed:
        ctypes.memset(memory, 1, SIZE)
    for memory in freed:
        library.free(memory)
    kept = []

    def leak() -> None:
        kept.append(library.malloc(SIZE))
        ctypes.memset(kept[-1], 1, SIZE)

    found = growth(leak, CPU)
    for memory in kept:
        library.free(memory)
    assert found.is_leak
    assert found.kibibytes == pytest.approx(SIZE / 1024, rel=0.2)


def test_a_call_that_keeps_nothing_is_asked_three_times_fifty() -> None:
    assert not growth(lambda: [None] * 1000, CPU).is_leak
    assert growth(lambda: [None] * 1000, CPU).calls == 150
