"""The command line inside this process: what it prints and exits with, without a start."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from tests.cli.test_command_line import Done, Wsa

from wsa import cli


@pytest.fixture
def wsa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wsa:
    """Call the command line in `tmp_path`, as the fixture of that name does in a process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def call(*arguments: object) -> Done:
        command = ["wsa", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        return subprocess.CompletedProcess(command, int(code or 0), *capsys.readouterr())

    return call
