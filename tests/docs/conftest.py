from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from wsa import zoo
from wsa.zoo import Recipe
from wsa.zoo.folder import RECORD

ROOT = Path(__file__).parent.parent.parent
# the digits zoo in little: the same layers, ten adapters of each of five classes, which a split
# needs at least, trained as long on a base model that is less so: 12 s of a core, not 90
SMALL = Recipe(n=50, classes=5, base_steps=30)
# what pip has a script for where it installs a package, which is here found installed already
PROGRAMS = {"pytest": "pytest", "pip": "pip", "hatchling": "hatchling"}

Session = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture
def small_zoo(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train the small zoo once for all test runs of a checkout."""
    shelf = request.config.cache.mkdir("docs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(shelf))
    return zoo.cached(SMALL)


@pytest.fixture
def readers_cache(small_zoo: Path, tmp_path: Path) -> Path:
    """Put the small zoo where `--dataset digits` looks for the one of 400 adapters."""
    cache = tmp_path / "readers-cache"
    folder = cache / "wsa" / "zoo" / Recipe().digest()
    shutil.copytree(small_zoo, folder)
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {"recipe": Recipe().identity()}))
    return cache


@pytest.fixture
def session(readers_cache: Path, tmp_path: Path) -> Session:
    """Return a call that runs a script as a reader would, in a folder and environment apart.

    `python`, `pip` and `wsa` are those of a fresh environment that sees what is installed here;
    one that the script makes itself sees it too, but for wsa. There is no network.
    """
    fresh, programs, work = tmp_path / "fresh", tmp_path / "programs", tmp_path / "work"
    _environment(fresh)
    _programs(programs)
    work.mkdir()
    (work / "wsa").symlink_to(ROOT)
    path = [str(fresh / "bin"), str(programs), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "XDG_CACHE_HOME": str(readers_cache),
        "PYTHONUNBUFFERED": "1",  # lines come in the order in which a terminal shows them
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way of saying yes
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "CXX": "/no/compiler",  # the compiled check takes most of a minute
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f"exec 2>&1\n{script}"]
        return subprocess.run(command, cwd=work, env=environment, stdout=subprocess.PIPE, text=True)

    return run


def _environment(folder: Path) -> None:
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # a line that begins with `import` is run: the editable installs' own .pth files count too
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (folder / "lib" / version / "site-packages" / "seen.pth").write_text(line)
    _program(folder / "bin" / "wsa", "python -c 'from wsa.cli import main; main()'")


def _programs(folder: Path) -> None:
    folder.mkdir()
    for name, module in PROGRAMS.items():
        _program(folder / name, f"python -m {module}")


def _program(path: Path, command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    path.chmod(0o755)
