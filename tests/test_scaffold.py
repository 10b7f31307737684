from __future__ import annotations

import ast
import builtins
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import wsa
from wsa import scaffold
from wsa.errors import WsaError


def run(*command: str | Path, cwd: Path) -> str:
    environment = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def fresh_python(tmp_path: Path) -> Path:
    """Make an environment of its own that sees what is installed here."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "fresh", cwd=tmp_path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "fresh" / "lib" / version / "site-packages"
    # a line that begins with `import` is run: the editable installs' own .pth files count too
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (site / "seen.pth").write_text(line)
    return tmp_path / "fresh" / "bin" / "python"


@pytest.mark.slow
# `case` is what a module with a kernel imports from wsa, in small letters
@pytest.mark.parametrize(("name", "kernel"), [("brand_new", False), ("case", True)])
def test_pip_and_pytest_accept_a_new_package_untouched(
    tmp_path: Path, fresh_python: Path, name: str, kernel: bool
) -> None:
    folder = scaffold.make(name, tmp_path / "package", kernel)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        fresh_python,
        "install",
        "--quiet",
    ]
    run(*pip, "--no-deps", "--no-build-isolation", "--no-index", "-e", ".", cwd=folder)
    # the compiled check takes most of a minute, and is not the package's own
    out = run(fresh_python, "-m", "pytest", "-q", "-k", "not compiled", cwd=folder)
    assert "failed" not in out
    assert "passed" in out
    listing = (fresh_python, "-c", "from wsa import cli; cli.main()", "plugins")
    assert name in run(*listing, cwd=folder)
    if kernel:
        command: list[str | Path] = [
            fresh_python,
            "-c",
            "from wsa import cli; cli.main()",
            "bench",
            "--list",
        ]
        cases = run(*command, cwd=folder)
        assert f"{name}: loop, eager, triton" in cases


@pytest.mark.parametrize("kernel", [False, True])
def test_nothing_of_a_template_is_left_unfilled(tmp_path: Path, kernel: bool) -> None:
    folder = scaffold.make("two_words", tmp_path / "package", kernel)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert (folder / "wsa_two_words.py").exists()
    assert (folder / ".github/workflows/test.yml").exists()
    assert (folder / "wsa_two_words_kernel.py").exists() == kernel
    assert (
        "class TwoWordsFeatures(LayerwiseRepresentation)"
        in (folder / "wsa_two_words.py").read_text()
    )
    assert not [path for path in files if "{{" in path.read_text() + str(path)]


@pytest.mark.parametrize("name", ["case", "tensor", "layerwise_representation", "a" * 60])
def test_the_class_of_a_new_plugin_hides_nothing_that_its_module_imports(
    tmp_path: Path, name: str
) -> None:
    folder = scaffold.make(name, tmp_path / "package", kernel=True)
    tree = ast.parse((folder / f"wsa_{name}.py").read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    (made,) = (node.name for node in tree.body if isinstance(node, ast.ClassDef))
    assert made not in imported | {*vars(builtins)} | {*wsa.__all__}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Two-Words", "needs a-z, 0-9 and _, a letter first, .*; got 'Two-Words' of 9"),
        ("a" * 61, "60 characters at most; got 'a{61}' of 61"),
        ("kernels", "'kernels' is wsa's own word, or wsa_kernels a module; choose another"),
        ("all", "'all' is wsa's own word"),
        ("stats", "'stats' is a plugin of wsa already; choose another"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(WsaError, match=problem):
        scaffold.make(name, tmp_path / "package")


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(WsaError, match="is there already; choose another --out"):
        scaffold.make("fresh", tmp_path)
    assert not list(tmp_path.iterdir())
