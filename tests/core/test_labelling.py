from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.core.adapter_files import write_diffusers

from wsa.errors import WsaError
from wsa.population.assembly import RefusedFiles
from wsa.population.population import Population
from wsa.population.reading import Reading
from wsa.population.source import open_population


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n, name in enumerate(("cats/a", "cats/b", "dogs/c")):
        write_diffusers(tmp_path / f"{name}.safetensors", seed=n, metadata={"ss_epoch": str(n)})
    return tmp_path


def labels(found: Population, column: str = "category_label") -> dict[str, object]:
    pairs = zip(found.identifiers.to_pylist(), found.column(column).to_pylist(), strict=True)
    return dict(pairs)


@pytest.mark.parametrize("key", ["path", "name", "file", "adapter"])
@pytest.mark.parametrize(
    "written", ["cats/a.safetensors", "cats/a", "./cats/a.safetensors", "a", "a.safetensors"]
)
def test_a_table_names_adapters_by_path_or_name(folder: Path, key: str, written: str) -> None:
    rows = [f"{key},category_label", f"{written},0", "b,0", "dogs/c,1"]
    (folder / "labels.csv").write_text("\n".join(rows))
    found = labels(open_population(str(folder)))
    assert found == {"cats/a.safetensors": 0, "cats/b.safetensors": 0, "dogs/c.safetensors": 1}


def test_parquet_and_lines_of_json_are_tables_too(folder: Path, tmp_path: Path) -> None:
    table = pa.table({"name": ["a", "b", "c"], "category_label": ["x", "y", "x"]})
    parquet.write_table(table, folder / "labels.parquet")
    first = labels(open_population(str(folder)))
    (folder / "labels.parquet").unlink()
    lines = [
        f'{{"name": "{n}", "category_label": "{v}"}}' for n, v in zip("abc", "xyx", strict=True)
    ]
    (folder / "labels.jsonl").write_text("\n".join(lines))
    assert labels(open_population(str(folder))) == first


def test_a_folder_is_the_name_of_an_adapter_whose_file_is_called_like_all(tmp_path: Path) -> None:
    for n, name in enumerate("ab"):
        write_diffusers(tmp_path / name / "pytorch_lora_weights.safetensors", seed=n)
    (tmp_path / "labels.csv").write_text("name,category_label\na,0\nb,1\n")
    assert list(labels(open_population(str(tmp_path))).values()) == [0, 1]


def test_labels_come_from_folders(folder: Path) -> None:
    found = open_population(str(folder), Reading(label_from="folder", label="animal"))
    assert list(labels(found, "animal").values()) == ["cats", "cats", "dogs"]


def test_labels_come_from_metadata_as_numbers_where_they_are(folder: Path) -> None:
    found = open_population(str(folder), Reading(label_from="metadata:ss_epoch"))
    assert list(labels(found).values()) == [0, 1, 2]


def test_adapters_without_a_label_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_diffusers(folder / "loose.safetensors", seed=7)
    reading = Reading(label_from="folder")
    with pytest.raises(RefusedFiles, match="1 of 4 files are refused"):
        open_population(str(folder), reading)
    told = "refused loose.safetensors: it has no 'folder' to read a label from"
    assert told in capsys.readouterr().err
    kept = open_population(str(folder), Reading(label_from="folder", skip_bad=True))
    assert "loose.safetensors" not in labels(kept)


def test_a_table_that_misses_an_adapter_or_names_another_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "labels.csv").write_text("name,category_label\na,0\nb,0\nzebra,1\n")
    with pytest.raises(RefusedFiles):
        open_population(str(folder))
    told = capsys.readouterr().err
    assert "refused labels.csv: it names adapters that are not there: 1 ('zebra')" in told
    assert "refused dogs/c.safetensors: labels.csv has no row for it" in told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,category_label\na,0\na,1\n", "labels.csv names 'a' twice"),
        ("which,category_label\na,0\n", "needs a column that names the adapter"),
        ("", "cannot read the labels in"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(folder: Path, text: str, problem: str) -> None:
    (folder / "labels.csv").write_text(text)
    with pytest.raises(WsaError, match=problem):
        open_population(str(folder))


def test_two_tables_or_an_unknown_source_are_refused(folder: Path) -> None:
    with pytest.raises(WsaError, match="--label-from needs folder or metadata:KEY; got 'tags'"):
        open_population(str(folder), Reading(label_from="tags"))
    for suffix in ("csv", "jsonl"):
        (folder / f"labels.{suffix}").write_text("")
    with pytest.raises(WsaError, match=r"several tables of labels \(labels.csv, labels.jsonl\)"):
        open_population(str(folder))


def test_a_table_beside_one_file_may_name_its_neighbours(folder: Path) -> None:
    rows = ["path,category_label", *(f"{name},{n}" for n, name in enumerate("abc"))]
    (folder / "cats/labels.csv").write_text("\n".join(rows))
    found = open_population(str(folder / "cats/b.safetensors"))
    assert labels(found) == {"b.safetensors": 1}
    assert "labels.csv names other adapters too: 2 ('a', 'c')" in found.notes
    (folder / "cats/labels.csv").write_text("path,category_label\na,0\n")
    with pytest.raises(RefusedFiles):
        open_population(str(folder / "cats/b.safetensors"))


def test_a_name_that_two_adapters_share_names_neither(tmp_path: Path) -> None:
    for n, name in enumerate(("one/a", "two/a")):
        write_diffusers(tmp_path / f"{name}.safetensors", seed=n)
    (tmp_path / "labels.csv").write_text("name,category_label\na,0\n")
    told = r"labels.csv names 'a', which may be 2 \('one/a.safetensors', 'two/a.safetensors'\)"
    with pytest.raises(WsaError, match=told):
        open_population(str(tmp_path))


def test_a_line_that_is_no_json_is_told_by_its_number(folder: Path) -> None:
    (folder / "labels.jsonl").write_text('{"name": "a"}\n\n{"name": \n')
    with pytest.raises(WsaError, match="line 3: Expecting value"):
        open_population(str(folder))


def test_a_table_may_label_adapters_that_are_left_out(folder: Path) -> None:
    (folder / "labels.csv").write_text("name,category_label\na,0\nb,0\nc,1\n")
    assert labels(open_population(str(folder), Reading(limit=1))) == {"cats/a.safetensors": 0}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("names", [("0029", "0030"), ("2024-01-01", "2024-01-02"), ("1e5", "NaN1")])
def test_a_name_is_a_text_whatever_it_looks_like(
    tmp_path: Path, names: tuple[str, str], suffix: str
) -> None:
    for seed, name in enumerate(names):
        write_diffusers(tmp_path / f"{name}.safetensors", seed=seed)
    rows = [f"{name},{seed}" for seed, name in enumerate(names)]
    if suffix == "jsonl":
        rows = [
            f'{{"name": "{name}", "category_label": {seed}}}' for seed, name in enumerate(names)
        ]
    head = ["name,category_label"] if suffix == "csv" else []
    (tmp_path / f"labels.{suffix}").write_text("\n".join([*head, *rows]))
    assert list(labels(open_population(str(tmp_path))).values()) == [0, 1]


def test_an_empty_cell_is_no_class(folder: Path) -> None:
    (folder / "labels.csv").write_text("name,category_label\na,x\nb,\nc,y\n")
    assert labels(open_population(str(folder)))["cats/b.safetensors"] is None


def test_a_table_may_name_files_from_the_root_of_the_disk(folder: Path) -> None:
    rows = [f"{folder}/cats/a.safetensors,0", f"{folder}/cats/b,1", "c,1"]
    (folder / "labels.csv").write_text("\n".join(["path,category_label", *rows]))
    assert list(labels(open_population(str(folder))).values()) == [0, 1, 1]


def test_a_table_that_is_no_utf8_is_refused(folder: Path) -> None:
    text = "name,category_label\na,k\u00e4se\nb,x\nc,x\n"
    (folder / "labels.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(WsaError, match="'category_label' is not UTF-8"):
        open_population(str(folder))
