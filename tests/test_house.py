from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"core": "wsa", "kernels": "wsa_kernels", "plugins": "wsa_plugins", "bench": "wsa_bench"}
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# a command's signature is its flags, one line each
COMMANDS = {ROOT / "core/wsa/cli" / f"{name}.py" for name in ("run", "extract", "bench", "pack")}
# what the operations stand on; every other file of the kernels is an operation
FOUNDATIONS = {"__init__", "layout", "matrices", "operation", "compilation", "layerwise"}
BANNED_NAMES = {"utils", "helpers", "common", "base", "manager"}


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command], cwd=cwd, capture_output=True, text=True)


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


@pytest.mark.parametrize(
    "command",
    [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("lint-imports",)],
    ids=lambda command: " ".join(command),
)
def test_every_check_passes(command: tuple[str, ...]) -> None:
    done = run(tool(command[0]), *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/wsa/layers.py", "import wsa.cache", "Inside core, the arrows point down"),
        (
            "kernels/wsa_kernels/layout.py",
            "import wsa.errors",
            "Plugins and benchmarks stand on core",
        ),
        ("core/wsa/extraction.py", "import triton", "Only wsa_kernels speaks Triton"),
    ],
)
def test_the_import_contracts_fail_when_broken(
    tmp_path: Path, file: str, line: str, contract: str
) -> None:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as broken:
        broken.write(f"\n{line}\n")
    paths = [str(tmp_path / folder) for folder in FOLDERS]
    code = f"import sys; sys.path[:0] = {paths}; from importlinter.cli import lint_imports; "
    done = run(sys.executable, "-c", code + "sys.exit(lint_imports(no_cache=True))", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"{contract}.*BROKEN", done.stdout), done.stdout


def test_the_root_folders_are_not_packages() -> None:
    for folder, package in FOLDERS.items():
        assert not (ROOT / folder / "__init__.py").exists()
        assert (ROOT / folder / package / "__init__.py").exists()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and path not in COMMANDS:
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 32, node.name


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [path for path in SOURCES if path.stem in BANNED_NAMES]


def test_every_source_file_is_in_the_readmes_tree() -> None:
    tree = (ROOT / "README.md").read_text()
    missing = [path.name for path in SOURCES if path.stem != "__init__" and path.name not in tree]
    assert not missing


def test_every_kernel_has_a_test_of_the_same_stem() -> None:
    stems = {path.stem for path in (ROOT / "kernels/wsa_kernels").glob("*.py")} - FOUNDATIONS
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests/kernels").glob("test_*.py")}
    assert stems <= tests, stems - tests


def test_every_file_of_fused_kernels_has_a_test_of_the_same_stem() -> None:
    kernels, tests = ROOT / "kernels/wsa_kernels/fused", ROOT / "tests/kernels/fused"
    stems = {path.stem for path in kernels.glob("*.py")} - {"__init__"}
    assert not stems - {path.stem.removeprefix("test_") for path in tests.glob("test_*.py")}


def test_every_kernel_has_a_bench_case_of_the_same_stem() -> None:
    kernels = importlib.import_module("wsa_bench").wsa_bench_cases()
    stems = {path.stem for path in (ROOT / "kernels/wsa_kernels").glob("*.py")}
    named = {case.name for case in kernels}
    files = {path.stem for path in (ROOT / "bench/wsa_bench").glob("*.py")}
    operations = {stem for stem in stems if _is_operation(stem)}
    assert operations
    assert operations <= named & files


def _is_operation(stem: str) -> bool:
    operation = importlib.import_module("wsa_kernels.operation").Operation
    return isinstance(
        getattr(importlib.import_module(f"wsa_kernels.{stem}"), stem, None), operation
    )


def test_every_hook_is_in_the_plugin_guide() -> None:
    specifications = (ROOT / "core/wsa/hookspecs.py").read_text()
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    hooks = re.findall(r"def (wsa_\w+)", specifications)
    assert hooks
    assert all(hook in guide for hook in hooks)
    assert len(specifications.splitlines()) <= 50


def test_everything_public_can_be_imported() -> None:
    wsa = importlib.import_module("wsa")
    assert sorted(wsa.__all__) == sorted(name for names in wsa._HOMES.values() for name in names)
    assert all(hasattr(wsa, name) for name in wsa.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = wsa.nothing


def test_the_command_line_starts_without_torch_datasets_or_a_plugin() -> None:
    heavy = ["torch", "datasets", "numpy", "pyarrow", "sklearn", "triton", "wsa_plugins"]
    code = f"import sys, wsa.cli; print([name for name in {heavy} if name in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_a_release_build_without_triton_imports_every_module() -> None:
    names = [
        ".".join(
            [path.relative_to(ROOT).parts[1], *path.with_suffix("").relative_to(ROOT).parts[2:]]
        )
        for path in SOURCES
        if path.stem != "__init__" and path.parent.name != "fused"
    ]
    code = "import sys, importlib; sys.modules['triton'] = None; "
    code += f"[importlib.import_module(name) for name in {names}]"
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


# each line that writes outside storage, and why it may: appended, or under `storage.replaced`
WRITERS = {
    "core/wsa/experiment/folder.py": 'with refusals(path), path.open("a") as file:',
    "core/wsa/experiment/export.py": 'with path.open("wb") as file:',
}


def test_only_storage_writes_to_a_final_path() -> None:
    writing = re.compile(r"(?<!storage)\.write_(text|bytes)\(|open\([^)]*\"[wxa]b?\"|np\.save")
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        lines = [line.strip() for line in path.read_text().splitlines() if writing.search(line)]
        strange = [
            line for line in lines if line != WRITERS.get(name) and "np.savez(file" not in line
        ]
        assert not strange or path.stem == "storage", name


def test_nothing_is_pickled() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert "import pickle" not in text
        assert "allow_pickle=True" not in text
        loads = re.findall(r"(?<!safetensors.)\btorch\.load\(.*", text)
        assert all("weights_only=True" in load for load in loads), path
