from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.bench.conftest import Bench

from wsa.bench.record import load_report
from wsa.errors import WsaError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def written(stranger: Callable[..., None], bench: Bench, tmp_path: Path) -> Path:
    stranger()
    bench("doubling", "--adapters", 3, "--seconds", 0.001, "--json", tmp_path / "now.json")
    return tmp_path / "now.json"


def first(document: dict[str, Any]) -> Any:
    return document["benchmarks"][0]["extra_info"]


def test_what_was_written_is_read(written: Path) -> None:
    assert [row["backend"] for row in load_report(written).rows][:2] == ["quick", "eager"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda it: it.pop("schema"), "it has no schema"),
        (lambda it: it.update(schema="wsa bench 1"), "it is of schema 'wsa bench 1', this is"),
        (lambda it: it.pop("failures"), "failures is no dict"),
        (lambda it: it.update(benchmarks={}), "benchmarks is no list"),
        (lambda it: it.update(benchmarks=[1]), "benchmark 0: extra_info is no dict"),
        (lambda it: it["rates"].clear(), "rates has no copy"),
        (lambda it: it["machine_info"].clear(), "machine_info has no device"),
        (lambda it: it["benchmarks"][0].clear(), "benchmark 0: extra_info is no dict"),
        (lambda it: first(it).pop("contest"), "benchmark 0: contest is no text"),
        (lambda it: first(it).update(median=0), "benchmark 0: median is no time"),
        (lambda it: first(it).update(bytes="many"), "benchmark 0: bytes is no amount"),
        (lambda it: first(it).update(gated=1), "benchmark 0: gated is neither true nor false"),
        (lambda it: first(it)["own"].pop("least"), "benchmark 0: own lacks a time"),
        (lambda it: first(it).update(own=[1]), "benchmark 0: own lacks a time"),
        (lambda it: first(it).update(p20=float("nan")), "it holds NaN"),
    ],
)
def test_a_file_that_lacks_anything_is_refused_in_one_line(
    written: Path, change: Change, problem: str
) -> None:
    document = json.loads(written.read_bytes())
    change(document)
    written.write_text(json.dumps(document))
    with pytest.raises(WsaError, match=f"needs a file written by wsa bench --json.*: {problem}"):
        load_report(written)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x80"])
def test_a_file_that_is_no_json_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(WsaError, match="--compare cannot read"):
        load_report(tmp_path / "other.json")


def test_what_another_program_wrote_is_refused(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text("[]")
    assert bench("moments", "--compare", tmp_path / "other.json") == 2
    assert "needs a file written by wsa bench --json" in capsys.readouterr().err
