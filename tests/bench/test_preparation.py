from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bench.conftest import Bench

from wsa.bench import machine

QUICK = ("--adapters", 3, "--seconds", 0.001)


@pytest.fixture(autouse=True)
def _nothing_is_measured(
    stranger: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("refused too late")

    stranger()
    monkeypatch.setattr(machine, "_measured", measured)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--json", "nowhere/now.json"), "--json needed a directory that exists; nowhere does not"),
        (("--json", "folder.json"), "--json needed a file; folder.json is a directory"),
        (("--json", "file"), "--json needed a directory; file is a file"),
        (("--plot", "nowhere/a.svg"), "--plot needed a directory that exists; nowhere does not"),
        (("--plot", "folder"), "--plot needed a file; folder is a directory"),
        (("--plot", "roofline.png"), "--plot draws SVG and needs a name that ends in .svg"),
        (("--json", "file.json", "--compare", "./file.json"), "--json would overwrite file.json"),
        (("--backend", "eager", "--check"), "--check: no case chosen here has a target"),
        (("--fail-if", "slower>10%"), "--fail-if needs --compare FILE"),
    ],
)
def test_what_would_be_lost_or_judge_nobody_is_refused_before_anything_is_measured(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], problem: str
) -> None:
    assert bench("doubling", *QUICK, *arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert len(error.strip().splitlines()) == 1


def test_a_place_without_permission_is_the_machines_problem(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert bench("doubling", *QUICK, "--json", "now.json") == 3
    assert "--json cannot write now.json: no permission in ." in capsys.readouterr().err


def test_a_comparison_with_nobody_in_common_is_refused(
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with monkeypatch.context() as able:
        able.setattr(machine, "_measured", lambda *_: (1e-3, 1e-3))
        assert bench("doubling", *QUICK, "--json", tmp_path / "base.json") == 0
    assert bench("doubling", "--adapters", 4, "--compare", tmp_path / "base.json") == 2
    error = capsys.readouterr().err
    assert "no contender here is in that file; it has doubling[factors r1 fp32 N3]" in error
