from __future__ import annotations

import os
import signal
import time

import pytest

from wsa import interruption
from wsa.interruption import Interrupted


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_at_once_what_does_not_look_for_it(number: int, code: int) -> None:
    with pytest.raises(Interrupted), interruption.handled():
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert interruption.exit_code() == code


def test_what_looks_for_a_signal_may_finish_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "GRACE_SECONDS", 0.05)
    done = False
    with pytest.raises(Interrupted), interruption.handled(), interruption.watched():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested()
        time.sleep(0.2)
        done = True
        interruption.stop()
    assert done
    assert interruption.exit_code() == 143


def test_a_second_signal_does_not_wait() -> None:
    with pytest.raises(Interrupted), interruption.handled(), interruption.watched():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_who_does_not_ask_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "GRACE_SECONDS", 0.05)
    started = time.monotonic()
    with pytest.raises(Interrupted), interruption.handled(), interruption.watched():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    assert time.monotonic() - started < 5


def test_handlers_are_put_back_and_nothing_is_pending() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted), interruption.handled():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
    assert not interruption.requested()
