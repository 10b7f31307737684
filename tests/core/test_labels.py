from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import MakeDataset
from tests.core.adapter_files import write_diffusers

from wsa.errors import WsaError
from wsa.experiment.labels import Labels, read_labels, strata
from wsa.experiment.splitting import split_labels
from wsa.population.source import open_population

Read = Callable[..., Labels]


@pytest.fixture
def read(make_dataset: MakeDataset) -> Read:
    def make(values: list[Any], task: str | None = None) -> Labels:
        folder = make_dataset(n=len(values), change=lambda columns: columns.update(found=values))
        return read_labels(open_population(str(folder)), "found", task)

    return make


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        ([2, 0, 2, 1], "classes", ("0", "1", "2")),
        (["b", "a", "b", "a"], "classes", ("a", "b")),
        ([True, False, True, True], "classes", ("False", "True")),
        ([0.5, 1.5, 2.5, 3.5], "regression", ()),
    ],
    ids=str,
)
def test_the_column_says_what_kind_of_label_it_holds(
    read: Read, values: list[Any], kind: str, classes: tuple[str, ...]
) -> None:
    labels = read(values)
    assert labels.kind == labels.goal.kind == kind
    assert kind == "regression" or labels.classes == classes


def test_a_task_overrules_the_column(read: Read) -> None:
    levels = read([0.1, 10.0, 1.0, 0.1], "ordinal")
    assert (levels.classes, levels.codes.tolist()) == (("0.1", "1", "10"), [0, 2, 1, 0])
    numbers = read([3, 1, 2, 1], "regression")
    assert numbers.targets.tolist() == [3.0, 1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([0.5, 1.5], "classes", "holds double; needed classes: .* floats say --task regression"),
        (["a", "b"], "regression", "holds string; needed numbers"),
        (["a", "b"], "ordinal", "holds string; needed levels in order"),
        ([float("nan"), None], None, "holds no label at all"),
        ([None, None], None, "holds no label at all"),
        ([1e150, 0.0], None, "needs numbers up to 1e.30 .* got up to 1e.150"),
        ([1e-160, 3e-160], None, "got up to 3e-160, 2e-160 apart; give them in another unit"),
    ],
    ids=str,
)
def test_a_column_that_cannot_be_the_task_is_refused(
    read: Read, values: list[Any], task: str | None, message: str
) -> None:
    with pytest.raises(WsaError, match=message):
        read(values, task)


def test_labels_that_are_no_numbers_are_left_out_by_name(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = read([0.5, float("nan"), 2.0, None, float("inf"), 3.0])
    assert labels.known.tolist() == [True, False, True, False, False, True]
    told = "is missing or not finite for 3 adapters: 1, 3, 4; they are left out"
    assert told in capsys.readouterr().err


def test_files_without_a_label_are_told_by_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        write_diffusers(tmp_path / f"{name}.safetensors", seed=ord(name))
    (tmp_path / "labels.csv").write_text("name,found\na,x\nb,\nc,y\n")
    assert read_labels(open_population(str(tmp_path)), "found").text(1) is None
    assert "for 1 adapters: b.safetensors; they are left out" in capsys.readouterr().err


def test_a_split_of_numbers_has_every_tenth_in_every_part(read: Read) -> None:
    draw = np.random.default_rng(0)
    labels = read(draw.lognormal(size=200).tolist())
    everyone = [str(row) for row in range(200)]
    first, second = (split_labels(labels, everyone, labels.known, repeat) for repeat in (0, 1))
    for part in ("train", "val", "test"):
        counts = np.bincount(labels.codes[getattr(first, part)], minlength=10)
        assert counts.min() >= 2
        assert np.ptp(counts) <= 1
    assert first.assignment.tolist() != second.assignment.tolist()


def test_numbers_with_many_ties_are_parted_where_they_can_be() -> None:
    values = np.array([0.0] * 50 + [1.0] * 5 + [2.0] * 5)
    codes, names = strata(values, np.ones(60, dtype=bool))
    assert codes.tolist() == [0] * 50 + [1] * 5 + [2] * 5 or len(set(codes.tolist())) == 2
    assert len(names) == codes.max() + 1
