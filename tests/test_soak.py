from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = str(Path(__file__).parent / "soak.py")


def soak(*arguments: str) -> str:
    done = subprocess.run([sys.executable, SOAK, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_at_twenty_random_moments_ends_in_the_same_bytes() -> None:
    assert soak("20") == "20 of 20 killed runs ended in the same bytes\n"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_half_precision_run_killed_at_random_moments_ends_in_the_same_bytes() -> None:
    assert "5 of 5" in soak("5", "--amp", "--seed", "1")
