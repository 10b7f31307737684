from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import PLUGIN, InstallPlugin, MakeDataset
from tests.core.test_identity import INPUTS

from wsa.cache import Cache, Memory
from wsa.errors import PluginFailure, WsaError
from wsa.experiment.config import RunConfig
from wsa.experiment.preparation import prepare_extraction
from wsa.extraction import Extraction, Request


def prepared(folder: Path, cache: Path | None, plugins: str, view: str = "factors") -> Extraction:
    config = RunConfig(
        dataset=str(folder),
        plugins=tuple(plugins.split(",")),
        view=(view,),
        cache_dir=cache,
        cache_features=cache is not None,
    )
    return prepare_extraction(config)[0]


def extracted(folder: Path, cache: Path | None, plugins: str, view: str = "factors") -> Extraction:
    extraction = prepared(folder, cache, plugins, view)
    extraction.ensure()
    return extraction


def request(extraction: Extraction, name: str) -> Request:
    return next(each for each in extraction.requests if each.offer.name == name)


def test_a_second_run_computes_nothing_and_reads_no_weight(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder, cache = make_dataset(n=8), tmp_path / "cache"
    first = extracted(folder, cache, "stats,spectral")
    second = extracted(folder, cache, "stats,spectral")
    assert (first.computed, first.shards_read) == (2, 1)
    assert second.account() == (
        "features: 0 shard entries computed, 2 found in the cache, no weight read"
    )
    asked = request(second, "stats")
    assert torch.equal(
        first.features(request(first, "stats")).values, second.features(asked).values
    )


def test_a_moved_population_is_read_again_but_hits(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder, cache = make_dataset(n=8), tmp_path / "cache"
    extracted(folder, cache, "stats")
    folder.rename(tmp_path / "elsewhere")
    moved = extracted(tmp_path / "elsewhere", cache, "stats")
    assert (moved.computed, moved.found, moved.shards_read) == (0, 1, 1)


def test_growing_a_population_computes_only_the_new_shards(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.population.population.SHARD_ADAPTERS", 4)
    cache = tmp_path / "cache"

    def first_eight(columns: dict[str, list[object]]) -> None:
        for name in columns:
            columns[name] = columns[name][:8]

    assert extracted(make_dataset("small", n=10, change=first_eight), cache, "stats").computed == 2
    assert extracted(make_dataset("grown", n=10), cache, "stats").computed == 1


def test_a_changed_version_of_a_representation_misses(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    folder, cache = make_dataset(n=4), tmp_path / "cache"
    install_plugin("given", version=1)
    assert extracted(folder, cache, "given").computed == 1
    assert extracted(folder, cache, "given").computed == 0
    install_plugin("given", version=2)
    assert extracted(folder, cache, "given").computed == 1


def test_the_key_is_made_of_everything_that_decides_the_features(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    extraction = extracted(make_dataset(n=4), tmp_path / "cache", "stats")
    whole = (0, extraction.population.count)
    inputs = extraction.key_inputs(request(extraction, "stats"), whole, extraction.identities[0])
    assert set(inputs) == set(INPUTS)


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ("return [('a', 'b')]", "needs a Column of a known layer, got"),
        ("return [Column('nowhere', 'x')]", "needs a Column of a known layer"),
        ("return columns_of(layers, ['x', 'x'])", "needs unique columns"),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
    ],
)
def test_columns_that_break_the_contract_fail_their_plugin_alone(
    make_dataset: MakeDataset,
    tmp_path: Path,
    install_plugin: InstallPlugin,
    columns: str,
    cause: str,
) -> None:
    source = PLUGIN.format(name="odd", version=1, body="return None")
    source = source.replace('return columns_of(layers, ["feature"])', columns)
    install_plugin("odd", source=source)
    extraction = extracted(make_dataset(n=4), tmp_path / "cache", "odd,stats")
    assert cause in extraction.failures[request(extraction, "odd")]
    assert extraction.computed == 1


@pytest.mark.parametrize(
    "body",
    [
        "batch.flat.mul_(2); return batch.flat[:, :16].clone()",
        "batch.flat.mul_(2); raise ValueError('after writing')",
        "from wsa_kernels.moments import moments; batch.once(moments).mean.mul_(100); "
        "return batch.flat[:, :16].clone()",
    ],
    ids=["weights", "weights, then raising", "a shared intermediate"],
)
def test_a_plugin_that_writes_to_the_batch_spoils_no_other(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin, body: str
) -> None:
    install_plugin("a_vandal", body=body)
    folder = make_dataset(n=6)
    honest = extracted(folder, None, "stats")
    spoilt = extracted(folder, None, "a_vandal,stats")
    one, other = (each.features(request(each, "stats")).values for each in (honest, spoilt))
    assert torch.equal(one, other)
    assert list(spoilt.failures) == [request(spoilt, "a_vandal")]


def test_changed_columns_without_a_new_version_miss(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    folder, cache = make_dataset(n=4), tmp_path / "cache"
    source = PLUGIN.format(name="given", version=1, body="return torch.ones(len(batch), 16 * F)")
    for names in (["one"], ["one", "two"]):
        text = source.replace('["feature"]', str(names)).replace("F)", f"{len(names)})")
        install_plugin("given", source=text)
        extraction = extracted(folder, cache, "given")
        assert extraction.computed == 1
        assert extraction.features(request(extraction, "given")).values.shape == (
            4,
            16 * len(names),
        )


def test_what_a_plugin_prints_stays_off_standard_output(
    make_dataset: MakeDataset,
    tmp_path: Path,
    install_plugin: InstallPlugin,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_plugin("loud", body="print('noise'); return batch.flat[:, :16].clone()")
    extracted(make_dataset(n=4), tmp_path / "cache", "loud")
    assert capsys.readouterr().out == ""


def test_a_composite_with_an_unknown_part_fails_alone(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    source = "from wsa import Composite, hookimpl\n@hookimpl\ndef wsa_representations():\n"
    install_plugin("both", source=source + "    return [Composite('both', 1, ('stats', 'gone'))]\n")
    extraction = extracted(make_dataset(n=4), tmp_path / "cache", "both,stats")
    with pytest.raises(PluginFailure, match="'both' needs 'gone', which did not load"):
        extraction.features(request(extraction, "both"))
    assert len(extraction.features(request(extraction, "stats")).values) == 4


def test_a_damaged_entry_is_computed_again_and_equal(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder, cache = make_dataset(n=8), tmp_path / "cache"
    first = extracted(folder, cache, "stats")
    before = first.features(request(first, "stats")).values
    (payload,) = (cache / "features").glob("*.safetensors")
    payload.write_bytes(payload.read_bytes()[:-3])
    second = extracted(folder, cache, "stats")
    after = second.features(request(second, "stats")).values
    assert torch.equal(before, after)
    assert second.store.quarantined == 1


def test_without_a_cache_features_are_the_same_and_nothing_is_written(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder = make_dataset(n=8)
    kept, forgotten = (
        extracted(folder, tmp_path / "cache", "stats"),
        extracted(folder, None, "stats"),
    )
    assert isinstance(kept.store, Cache)
    assert isinstance(forgotten.store, Memory)
    values = [each.features(request(each, "stats")).values for each in (kept, forgotten)]
    assert torch.equal(*values)


def test_the_ensemble_is_its_parts_side_by_side_layer_by_layer(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    extraction = extracted(make_dataset(n=6), tmp_path / "cache", "ensemble")
    whole = extraction.features(request(extraction, "ensemble"))
    layers = len(extraction.population.catalogue.keys)
    assert whole.values.shape == (6, layers * 115)
    place = {column.name: i for i, column in enumerate(whole.columns)}
    part = extraction.features(request(extraction, "spectral"))
    for i, column in enumerate(part.columns):
        twin = place[f"{column.layer}/spectral.{column.feature}"]
        assert torch.equal(whole.values[:, twin], part.values[:, i])
    assert extraction.computed == 5


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise ValueError('no such thing')", "it raised ValueError: no such thing"),
        ("raise SystemExit(1)", "it raised SystemExit: 1"),
        (
            "return batch.flat[:, :3].float()",
            r"needed float32 \[6, 16\] on cpu, got float32 \[6, 3\]",
        ),
        ("return batch.flat[:, :16].double()", r"got float64 \[6, 16\]"),
        ("return [1, 2, 3]", "got list"),
        ("return batch.flat[:, :16].to_sparse()", "sparse_coo tensor"),
        ("return batch.flat[:, :16] / 0", "needed finite features, got"),
        ("batch.flat[:, 0] = 0; return batch.flat[:, :16]", "it wrote to the batch"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_named_and_the_others_finish(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin, body: str, cause: str
) -> None:
    install_plugin("broken", body=body)
    extraction = extracted(make_dataset(n=6), tmp_path / "cache", "stats,broken")
    with pytest.raises(PluginFailure, match=cause):
        extraction.features(request(extraction, "broken"))
    assert extraction.features(request(extraction, "stats")).values.shape[0] == 6
    assert extraction.computed == 1


def test_a_weight_that_is_not_finite_changes_no_other_row(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    def spoil(columns: dict[str, list[object]]) -> None:
        name = next(name for name in columns if name.endswith("down.weight"))
        columns[name][3] = [[float("nan")] * 12]

    sound = extracted(make_dataset("sound", n=6), tmp_path / "a", "ensemble,profile", "delta")
    spoilt = extracted(
        make_dataset("bad", n=6, change=spoil), tmp_path / "b", "ensemble,profile", "delta"
    )
    assert spoilt.valid().tolist() == [True, True, True, False, True, True]
    for name in ("ensemble", "profile"):
        one = sound.features(request(sound, name)).values
        other = spoilt.features(request(spoilt, name)).values
        assert torch.equal(one[spoilt.valid()], other[spoilt.valid()])
        assert not other[3].any()


def test_a_parameter_misses_and_its_default_does_not(
    make_dataset: MakeDataset, tmp_path: Path
) -> None:
    folder, cache = make_dataset(n=4), tmp_path / "cache"
    assert extracted(folder, cache, "spectral").computed == 1
    assert extracted(folder, cache, "spectral(top=10)").computed == 0
    twenty = extracted(folder, cache, "spectral(top=20)")
    assert twenty.computed == 1
    asked = request(twenty, "spectral(top=20)")
    assert twenty.features(asked).values.shape == (4, 16 * 70)
    assert twenty.key_inputs(asked, (0, 4), twenty.identities[0])["parameters"] == {"top": 20}


def test_a_plugin_that_fails_late_leaves_nothing_in_the_cache(
    make_dataset: MakeDataset,
    tmp_path: Path,
    install_plugin: InstallPlugin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wsa.population.population.SHARD_ADAPTERS", 4)
    body = "return batch.flat[:, :16].clone() / (len(batch) - 2)"
    install_plugin("tires", body=body)
    extraction = extracted(make_dataset(n=10), tmp_path / "cache", "stats,tires")
    assert "needed finite features" in extraction.failures[request(extraction, "tires")]
    kept = {record["inputs"]["representation"] for _, record in Cache(tmp_path / "cache").records()}
    assert kept == {"stats"}
    assert extraction.computed == 3


def test_two_plugins_that_offer_one_representation_stop_no_other(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    source = PLUGIN.format(name="stats", version=1, body="return None")
    install_plugin("copycat", source=source)
    extraction = extracted(make_dataset(n=4), tmp_path / "cache", "copycat,stats,profile")
    assert [each.name for each in extraction.requests] == ["profile (view factors)"]


def test_a_representation_of_one_view_is_left_out_of_the_other(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    source = PLUGIN.format(name="narrow", version=1, body="return batch.flat[:, :8].clone()")
    install_plugin("narrow", source=source.replace("version = 1", "version = 1; views = ['delta']"))
    folder = make_dataset(n=4)
    both = prepared(folder, None, "narrow,stats")
    assert [each.name for each in both.requests] == ["stats (view factors)"]
    assert len(extracted(folder, None, "narrow", "delta").requests) == 1
    with pytest.raises(WsaError, match="'narrow' needs --view delta"):
        prepared(folder, None, "narrow")


def test_a_changed_source_is_said_until_the_version_changes(
    make_dataset: MakeDataset,
    tmp_path: Path,
    install_plugin: InstallPlugin,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, cache = make_dataset(n=4), tmp_path / "cache"
    for body in ("return batch.flat[:, :16].clone()", "return batch.flat[:, 1:17].clone()"):
        install_plugin("given", body=body)
        extraction = extracted(folder, cache, "given")
    assert extraction.computed == 0
    assert "given (dist-given): its source has changed" in capsys.readouterr().err
