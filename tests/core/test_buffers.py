from __future__ import annotations

import gc

import torch

from wsa.population.buffers import MOST_KEPT, Buffers


def test_memory_that_nobody_holds_is_lent_again() -> None:
    buffers = Buffers()
    place = buffers.lend(3, 5, torch.float16).data_ptr()
    assert buffers.lend(2, 5, torch.float16).data_ptr() == place


def test_memory_that_any_view_holds_is_lent_to_nobody_else() -> None:
    buffers = Buffers()
    held = buffers.lend(4, 8, torch.float32).fill_(1)[2:, ::2].view(-1).unsqueeze(0)
    other = buffers.lend(4, 8, torch.float32).fill_(2)
    array = buffers.lend(4, 8, torch.float32).fill_(3).numpy()[1:]
    again = buffers.lend(4, 8, torch.float32).fill_(4)
    assert held.eq(1).all() and other.eq(2).all() and (array == 3).all() and again.eq(4).all()


def test_a_buffer_begins_on_a_boundary_of_64_bytes() -> None:
    buffers = Buffers()
    held = [buffers.lend(1, size, torch.uint8) for size in (1, 7, 4096, 100_001)]
    assert [each.data_ptr() % 64 for each in held] == [0] * 4


def test_no_more_memory_is_kept_than_a_run_holds() -> None:
    buffers = Buffers()
    held = [buffers.lend(1, 10, torch.uint8) for _ in range(MOST_KEPT + 4)]
    del held
    gc.collect()
    assert len(buffers._free) == MOST_KEPT


def test_a_buffer_that_is_too_small_is_given_up() -> None:
    buffers = Buffers()
    del (small := [buffers.lend(1, 10, torch.uint8)])[0]
    assert not small
    assert buffers.lend(1, 1000, torch.uint8).numel() == 1000
    assert len(buffers._free) == 1
