from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import MakeDataset

PACKAGE = Path(__file__).parent / "example_plugin"


@pytest.fixture
def strangers_site(tmp_path: Path) -> Path:
    """Install the stranger's package as pip does, beside the environment rather than into it."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    subprocess.run([*pip, *options, str(PACKAGE)], check=True)
    return site


def test_a_strangers_package_is_found_and_run(
    strangers_site: Path, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    def wsa(*arguments: str) -> str:
        command = [str(Path(sys.executable).parent / "wsa"), *arguments]
        paths = [str(strangers_site), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = {row["name"]: row for row in json.loads(wsa("plugins", "--json"))}
    assert (listed["sign"]["distribution"], listed["sign"]["version"]) == ("wsa-sign", "0.3")
    small = ["--num-runs", "1", "--hidden-dim", "8", "--max-epochs", "2", "--json"]
    places = ["--output-dir", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    data = ["--dataset", str(make_dataset()), "--plugins", "sign,stats"]
    results = json.loads(wsa("run", *data, *small, *places))
    assert {task["representation"] for task in results["tasks"]} == {"sign", "stats"}
    assert results["failures"] == {}
    assert "sign: eager, loop" in wsa("bench", "--list")
    assert wsa("bench", "sign", "--seconds", "0.01").count("8x40") == 2
