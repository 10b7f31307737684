from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.bench.conftest import Bench

from wsa import Setting
from wsa.bench.agreement import Disagreement, greatest_error
from wsa.population import population
from wsa_bench import ingest, populations

CASES = {case.name: case for case in ingest.cases()}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Widths that need padding, and few of them."""
    monkeypatch.setattr(populations, "WIDTHS", (40, 67))
    monkeypatch.setattr(populations, "TEXT_WIDTH", 51)
    monkeypatch.setattr(ingest, "COLUMN_WIDTHS", (40,))
    forget()
    yield
    forget()


def forget() -> None:
    for made in (ingest.loose, ingest.packed, ingest.columns):
        made.cache_clear()


# Arrow has no bfloat16
TYPES = [
    (name, dtype)
    for name in CASES
    for dtype in ("fp32", "fp16", "bf16")
    if (name, dtype) != ("ingest/columns", "bf16")
]


@pytest.mark.parametrize(("name", "dtype"), TYPES)
def test_every_contender_finds_every_byte(name: str, dtype: str) -> None:
    case = CASES[name]
    given = case.inputs(Setting(3, 2, dtype=dtype))
    for contender in case.contenders.values():
        assert greatest_error(contender(given), case.reference(given), case.tolerance) == 0


def test_a_byte_that_is_another_is_no_agreement() -> None:
    case = CASES["ingest/packed"]
    given = case.inputs(Setting(3, 2))
    wrong = {"flat": case.contenders["wsa"](given)["flat"].clone()}
    wrong["flat"][1, 3] = torch.nextafter(wrong["flat"][1, 3], torch.tensor(9.0))
    with pytest.raises(Disagreement, match="flat is off by"):
        greatest_error(wrong, case.reference(given), case.tolerance)


def test_ours_finds_the_bytes_in_memory_that_held_others() -> None:
    for case in CASES.values():
        given = case.inputs(Setting(3, 2))
        case.contenders["wsa"](given)["flat"].fill_(torch.nan)
        assert torch.equal(case.contenders["wsa"](given)["flat"], given.weights.flat)


def test_files_of_one_shard_lie_in_one() -> None:
    assert len(ingest.loose(Setting(64, 1)).population.ranges()) == 1


def test_so_many_adapters_are_read_as_make_one_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    row_bytes = ingest.loose(Setting(1, 1)).population.groups[0].row_bytes
    monkeypatch.setattr(population, "SHARD_BYTES", 8 * row_bytes)
    enough = CASES["ingest/packed"].enough
    assert [enough(Setting(64, rank)) for rank in (1, 2, 4)] == [8, 4, 2]
    assert enough(Setting(64, 1, dtype="fp16")) == 16


@pytest.mark.parametrize(
    ("rank", "dtype", "over"), [(4, "fp16", "safe_open"), (16, "fp32", "copy")]
)
def test_every_rank_and_type_has_a_target(rank: int, dtype: str, over: str) -> None:
    targets = CASES["ingest/loose"].targets
    found = [each for each in targets if each.dtype == dtype and each.over == over]
    assert any(not each.ranks or rank in each.ranks for each in found)


def test_the_bench_tells_the_disks_own_rate(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("ingest", "--adapters", 3, "--seconds", 0.001) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in CASES)
    assert "disk" in out
    assert "B/s" in out
