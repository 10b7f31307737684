from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MakeDataset

from wsa.population.identity import IdentityMemo
from wsa.population.source import open_population
from wsa.storage import canonical_digest

INPUTS: dict[str, Any] = {
    "scheme": 1,
    "shard": "ab" * 32,
    "layout": "cd" * 32,
    "view": "factors",
    "representation": "stats",
    "version": 1,
    "parameters": {},
    "distribution": "wsa 0.1.0",
    "columns": "ef" * 32,
    "dtype": "float32",
}
GOLDEN = "c2102703f7f055e7280771d5dc1879d88fa154d1fa0adeec90840c8e295edac6"


def test_the_key_of_a_cache_entry_never_changes() -> None:
    assert canonical_digest(INPUTS) == GOLDEN
    assert canonical_digest(dict(reversed(INPUTS.items()))) == GOLDEN


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_the_key_is_the_same_in_every_process(seed: str) -> None:
    code = "from wsa.storage import canonical_digest as d; "
    command = [sys.executable, "-c", code + f"print(d({INPUTS}))"]
    environment = os.environ | {"PYTHONHASHSEED": seed}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == GOLDEN


@pytest.mark.parametrize("field", INPUTS)
def test_every_input_of_the_key_counts(field: str) -> None:
    assert canonical_digest(INPUTS | {field: "other"}) != GOLDEN


def test_the_memo_forgets_a_file_that_was_touched(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder = make_dataset(n=4)
    population = open_population(str(folder))
    shard = population.read(0, 4)
    IdentityMemo(tmp_path, population).remember(shard)
    known = IdentityMemo(tmp_path, population).recall(0, 4)
    assert known is not None
    assert list(known.digests) == shard.digests
    os.utime(next(folder.glob("*.arrow")), ns=(1, 1))
    assert IdentityMemo(tmp_path, open_population(str(folder))).recall(0, 4) is None


def test_a_damaged_memo_costs_a_reading_and_nothing_else(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    population = open_population(str(make_dataset(n=4)))
    memo = IdentityMemo(tmp_path, population)
    memo.remember(population.read(0, 4))
    (path,) = tmp_path.glob("*.sealed")
    broken = bytearray(path.read_bytes())
    broken[-5] ^= 1
    path.write_bytes(broken)
    assert memo.recall(0, 4) is None
