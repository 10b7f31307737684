from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import wraps

import pytest
import torch

from wsa import surroundings


def test_nothing_is_told_where_nothing_was_changed() -> None:
    with surroundings.kept() as changed:
        torch.ones(3).sum()
    assert changed == []


def test_the_random_state_of_every_device_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [torch.arange(3), torch.arange(4)]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [each.clone() for each in states])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state_all", lambda wanted: states.__setitem__(slice(2), wanted)
    )
    with surroundings.kept() as found:
        pass
    assert found == []
    with surroundings.kept() as found:
        states[1] += 1
    assert found == ["CUDA's random state"]
    assert states[1].tolist() == [0, 1, 2, 3]


def test_a_library_may_replace_its_own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "manual_seed", torch.manual_seed)
    with surroundings.kept() as changed:
        torch.manual_seed = torch.seed  # type: ignore[assignment]
    assert changed == []


def test_a_wrapper_is_no_function_of_the_library_it_wraps() -> None:
    honest = torch.manual_seed

    @wraps(honest)
    def wrapped(seed: int) -> None:
        honest(seed)

    with surroundings.kept() as changed:
        torch.manual_seed = wrapped  # type: ignore[assignment]
    assert changed == ["the function torch.manual_seed"]
    assert torch.manual_seed is honest


def test_everything_is_put_back_where_the_call_raises() -> None:
    with pytest.raises(ValueError, match="odd"), surroundings.kept():
        torch.set_default_dtype(torch.float64)
        raise ValueError("odd")
    assert torch.get_default_dtype() == torch.float32


def test_an_idle_pool_keeps_no_process_alive_and_a_thread_does() -> None:
    stop = threading.Event()
    with surroundings.threads_noticed() as threads:
        thread = threading.Thread(target=stop.wait, name="a plugin's")
        thread.start()
    assert threads == surroundings.lingering() == ["a plugin's"]
    stop.set()
    thread.join()
    assert surroundings.lingering() == []


def test_a_command_ends_although_a_plugin_left_a_thread_behind() -> None:
    code = "import sys\nfrom wsa import cli, surroundings\nimport threading, time\n"
    code += "with surroundings.threads_noticed():\n"
    code += "    threading.Thread(target=time.sleep, args=(600,), name='forever').start()\n"
    code += "sys.argv = ['wsa', 'plugins']; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "spectral" in done.stdout
    assert "not waiting for what plugins left running: forever" in done.stderr


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_fork_may_end_while_the_process_may_not() -> None:
    ending = os._exit
    with surroundings.not_ended():
        with pytest.raises(SystemExit, match=r"os._exit\(0\)"):
            os._exit(0)
        child = os.fork()
        if not child:
            try:
                os._exit(7)
            finally:
                ending(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
