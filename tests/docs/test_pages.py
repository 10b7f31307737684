from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from sphinx.pycode import ModuleAnalyzer
from tests.conftest import MakeDataset
from tests.docs.conftest import ROOT

import wsa
from wsa import errors, hookspecs, listing
from wsa.conformance.run import CHECKS
from wsa.experiment.timing import MEASURED
from wsa.formats import keys, naming
from wsa.population import labelling

DOCS = ROOT / "docs"
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a call that imports one of the page writers, which only Sphinx knows otherwise."""
    monkeypatch.syspath_prepend(str(DOCS))
    return lambda name: importlib.import_module(f"page_writers.{name}")


def first_column(page: str, heading: str = "") -> set[str]:
    """Return the words in code font that begin the lines of a page's tables."""
    text = (DOCS / page).read_text().partition(heading)[2] if heading else (DOCS / page).read_text()
    section = re.split(r"^#+ ", text, flags=re.MULTILINE)[0] if heading else text
    lines = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {word for line in lines for word in re.findall(r"`([^`]+)`", line)}


def run_small(dataset: Path, out: Path) -> dict[str, Any]:
    small: dict[str, Any] = {"num_runs": 1, "hidden_dim": 8, "max_epochs": 2}
    summary = wsa.run(dataset=str(dataset), plugins=("stats",), output_dir=out, **small)
    return summary.results


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns("_build", "pages", "__pycache__")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=left_out)
    command = [str(PROGRAMS / "sphinx-build"), "-W", "--keep-going", "-q", "-b", "html"]
    places = [str(tmp_path / "docs"), str(tmp_path / "html")]
    done = subprocess.run([*command, *places], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html/pages/features.html").read_text()
    assert "energy_rank_95" in page


def test_every_help_page_is_what_the_command_prints(
    writers: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page, titles = writers("commands").commands_page(), list(writers("commands").help_texts())
    assert {"wsa run", "wsa plugins new", "wsa cache explain", "wsa zoo make"} <= set(titles)
    for title in titles:
        command = [PROGRAMS / "wsa", *title.split()[1:], "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"## `{title}`\n\n```text\n{done.stdout.rstrip()}\n```" in page


def test_the_feature_page_tells_what_is_installed(writers: Callable[[str], Any]) -> None:
    page = writers("representations").representations_page()
    rows = [row for row in listing.loaded() if row["distribution"] == "wsa"]
    assert len(rows) >= 15
    for told in (told for row in rows for told in row["representations"]):
        counts = ", ".join(f"{view} {count}" for view, count in told["columns"].items())
        line = next(line for line in page.splitlines() if f"(#{told['name']}) |" in line)
        assert f"| {told['version']} |" in line
        assert line.endswith(f"| {counts} |")
        assert all(f"`{name}: {kind}`" in line for name, kind in told["parameters"].items())
    assert "row_1 row_2" in page


def test_the_operations_page_names_every_operation_and_field(writers: Callable[[str], Any]) -> None:
    page = writers("operations").operations_page()
    assert {"moments", "spectrum", "row_col_norms"} <= set(re.findall(r"## `(\w+)`", page))
    assert "`mean`, `std`, `skewness`, `kurtosis`" in page


def test_the_cache_page_names_every_part_of_the_key(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    wsa.extract(dataset=str(make_dataset(n=6)), plugins=("stats",), cache_dir=cache)
    (record,) = (cache / "features").glob("*.json")
    parts = json.loads(record.read_text())["inputs"]
    assert first_column("cache.md") - {"factors", "delta"} == set(parts)
    assert f"these {['nine', 'ten', 'eleven'][len(parts) - 9]} values" in (
        DOCS / "cache.md"
    ).read_text().replace("\n", " ")


def test_the_results_page_names_every_file_key_and_column(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    results = run_small(make_dataset(), out)
    files = {f"{p.name}/" if p.is_dir() else p.name for p in out.iterdir() if p.name[0] != "."}
    assert first_column("results.md", "## The run folder\n") == files
    assert first_column("results.md", "## `results.json`\n") == set(results)
    page = (DOCS / "results.md").read_text()
    columns = (out / "metrics.csv").read_text().splitlines()[0].split(",")
    assert all(f"`{name}`" in page for name in [*columns, *MEASURED])
    assert f"| {results['schema_version']}; raised" in page


def test_the_results_page_names_every_exit_code() -> None:
    _, _, section = (DOCS / "results.md").read_text().partition("## Exit codes")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    mine = {errors.EXIT_SOME_FAILED, errors.EXIT_USAGE, errors.EnvironmentProblem.exit_code}
    assert told == {0, *mine, errors.EXIT_INTERRUPTED, 128 + 15}


def test_the_formats_page_names_every_family_and_what_is_refused() -> None:
    page = " ".join((DOCS / "formats.md").read_text().split())
    families = {*naming.FAMILIES, keys.LOHA, keys.LOKR}
    assert families <= first_column("formats.md", "## What is read\n")
    assert all(f"`{name}`" in page for name in [*labelling.TABLES, *labelling.NAMES])
    _, _, refused = page.partition("nothing is guessed: ")
    assert refused.partition(". ")[0].replace(" or B", ", B").split(", ") == [
        part for kind in keys._UNSUPPORTED for part in kind.split(" or ")
    ]


def test_the_contract_page_names_every_check_hook_and_public_name() -> None:
    page = (DOCS / "representations.md").read_text()
    assert first_column("representations.md") == set(CHECKS)
    hooks = [name for name in vars(hookspecs) if name.startswith("wsa_")]
    assert hooks
    assert all(f"autofunction:: wsa.hookspecs.{hook}\n" in page for hook in hooks)
    pages = "".join(path.read_text() for path in DOCS.glob("*.md"))
    documented = set(re.findall(r"^\.\. auto\w+:: wsa\.(?:\w+\.)?(\w+)", pages, re.MULTILINE))
    assert set(wsa.__all__) <= documented


def test_every_page_is_reached_from_the_start(writers: Callable[[str], Any]) -> None:
    start = (DOCS / "index.md").read_text()
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    made = {f"pages/{Path(name).stem}" for name in importlib.import_module("page_writers").PAGES}
    listed = set(re.findall(r"^[a-z_/]+$", start, re.MULTILINE))
    assert listed == pages | made


def test_every_field_of_a_case_and_its_setting_is_explained() -> None:
    explained = ModuleAnalyzer.for_module("wsa.case").find_attr_docs()
    for kind in (wsa.Case, wsa.Setting):
        names = {(kind.__name__, each.name) for each in fields(kind)}
        assert not names - explained.keys()
