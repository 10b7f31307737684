from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GIVEN = """
import pytest
from wsa import LayerwiseRepresentation

class Sign(LayerwiseRepresentation):
    name = "sign"
    version = 1
    views = ("factors",)
    feature_names = ("positive",)

    def features(self, matrices):
        return (matrices > 0).float().mean((1, 2))[:, None] FAULT

@pytest.mark.wsa_representation(Sign())
def test_sign_keeps_the_contract(wsa_check):
    wsa_check()
"""


def outcome(folder: Path, source: str, checks: str = "output") -> str:
    (folder / "test_sign.py").write_text(source)
    options = ["-q", "-p", "no:cacheprovider", "--strict-markers", "-k", checks]
    command = [sys.executable, "-m", "pytest", *options, "test_sign.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


def test_a_marked_test_becomes_a_test_for_every_check(tmp_path: Path) -> None:
    out = outcome(tmp_path, GIVEN.replace("FAULT", ""), "not compiled and not memory")
    assert "14 passed, 1 skipped, 3 deselected" in out, out


def test_a_fault_fails_its_check_with_expected_against_got(tmp_path: Path) -> None:
    out = outcome(tmp_path, GIVEN.replace("FAULT", "/ 0"))
    assert "test_sign_keeps_the_contract[factors-output-matches-columns]" in out, out
    assert "expected finite features, got" in out


def test_a_test_without_a_representation_is_told_what_it_needs(tmp_path: Path) -> None:
    marked = "@pytest.mark.wsa_representation(Sign())\n"
    out = outcome(tmp_path, GIVEN.replace("FAULT", "").replace(marked, ""))
    assert "wsa_check needs @pytest.mark.wsa_representation(YourRepresentation())" in out
