from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import PLUGIN, InstallPlugin, MakeDataset
from tests.core.hostile_plugins import COLUMNS, EXTRACTS, OFFERED, SOURCES
from tests.core.test_extraction import extracted, request

from wsa import registry
from wsa.cache import Cache
from wsa.errors import PluginFailure
from wsa.experiment.offers import load_offers
from wsa.extraction import Extraction
from wsa.interruption import handled

OURS = ("stats", "profile", "spectral")


@pytest.fixture(autouse=True)
def _no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no plugin end the test session, with exit code 0, where it is not kept from it."""

    def ending(status: int) -> None:
        raise RuntimeError(f"the process ends with {status}")

    monkeypatch.setattr("os._exit", ending)


def kept(cache: Path) -> set[str]:
    return {record["inputs"]["representation"] for _, record in Cache(cache).records()}


def bytes_of(extraction: Extraction) -> dict[str, torch.Tensor]:
    return {name: extraction.features(request(extraction, name)).values for name in OURS}


def test_no_plugin_that_harms_while_it_computes_harms_another_or_is_cached(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    for name, (body, _) in EXTRACTS.items():
        install_plugin(name, body=body)
    folder, where = make_dataset(n=6), os.getcwd()
    names = ",".join([*EXTRACTS, *OURS, "honest"])
    install_plugin("honest")
    alone = bytes_of(extracted(folder, None, ",".join(OURS)))
    among = extracted(folder, tmp_path / "cache", names)
    told = {each.offer.name: problem for each, problem in among.failures.items()}
    for name, (_, cause) in EXTRACTS.items():
        assert re.search(cause, told.pop(name)), name
    assert told == {}
    assert kept(tmp_path / "cache") == {*OURS, "honest"}
    for name, values in bytes_of(among).items():
        assert torch.equal(values, alone[name]), name
    assert os.getcwd() == where
    assert torch.linalg.svdvals is not None
    assert all(len(problem) < 700 and "\n" not in problem for problem in among.failures.values())


@pytest.mark.parametrize("odd", ["requires_grad_()", "T.contiguous().T", "expand(6, 16)"])
def test_an_output_that_is_only_unusual_is_taken_as_it_is(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin, odd: str
) -> None:
    install_plugin("plain", body="return batch.flat[:, :16].float().clone()")
    install_plugin("unusual", body=f"return batch.flat[:, :16].float().clone().{odd}")
    extraction = extracted(make_dataset(n=6), tmp_path / "cache", "plain,unusual")
    one, other = (extraction.features(request(extraction, n)) for n in ("plain", "unusual"))
    assert torch.equal(one.values, other.values)
    assert not other.values.requires_grad


def test_no_columns_that_harm_reach_a_cache(
    make_dataset: MakeDataset,
    tmp_path: Path,
    install_plugin: InstallPlugin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wsa.contract.MOST_COLUMNS", 1000)
    for name, (body, _) in COLUMNS.items():
        source = PLUGIN.format(name=name, version=1, body="return torch.ones(len(batch), 16)")
        install_plugin(name, source=source.replace('return columns_of(layers, ["feature"])', body))
    extraction = extracted(make_dataset(n=6), tmp_path / "cache", ",".join([*COLUMNS, "stats"]))
    told = {each.offer.name: problem for each, problem in extraction.failures.items()}
    for name, (_, cause) in COLUMNS.items():
        assert re.search(cause, told.pop(name)), name
    assert told == {}
    assert kept(tmp_path / "cache") == {"stats"}


def test_no_plugin_that_harms_while_it_is_loaded_stops_another(
    install_plugin: InstallPlugin,
) -> None:
    for name, (source, _) in SOURCES.items():
        install_plugin(name, source=source)
    with handled():
        found = load_offers([*SOURCES, "stats"])
    assert [offer.name for offer in found.offers] == ["stats"]
    for name, (_, cause) in SOURCES.items():
        assert re.search(cause, found.failures[name]), found.failures[name]
        assert f"plugin {name!r}" in found.failures[name]


def test_an_interruption_is_the_users_where_no_signal_is_handled(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("interrupts", source="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_offers(["interrupts"])


def test_what_an_import_changes_is_put_back_and_told(
    install_plugin: InstallPlugin, capfd: pytest.CaptureFixture[str]
) -> None:
    meddling = "import os, sys, threading, time, torch\n"
    meddling += "torch.set_default_dtype(torch.float64); torch.set_num_threads(2)\n"
    meddling += "torch.Tensor.sum = len; sys.setrecursionlimit(100); print('x' * 1_000_000)\n"
    meddling += "os.write(1, b'loud'); torch.manual_seed(5)\n"
    meddling += "threading.Thread(target=time.sleep, args=(1.5,), name='idler').start()\n"
    install_plugin("meddles", source=meddling + OFFERED)
    found = registry.load_noted(registry.named(["meddles"])[0])
    assert [offer.name for offer in found.offers] == ["given"]
    told = "; ".join(found.notes)
    for word in ("default dtype from torch.float32 to torch.float64", "random state", "Tensor.sum"):
        assert word in told
    assert "its import left 1 threads behind: idler" in told
    assert len(told) < 1000
    assert torch.get_default_dtype() == torch.float32
    assert torch.ones(3).sum() == 3
    assert sys.getrecursionlimit() >= 1000
    assert capfd.readouterr().out == ""


def test_a_million_columns_are_columns(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    source = PLUGIN.format(name="wide", version=1, body="return torch.ones(len(batch), 16 * 62500)")
    names = "[f'{i}' for i in range(62500)]"
    install_plugin("wide", source=source.replace('["feature"]', names))
    extraction = extracted(make_dataset(n=3), tmp_path / "cache", "wide,stats")
    assert extraction.features(request(extraction, "wide")).values.shape == (3, 1_000_000)


def test_a_representation_made_of_itself_fails_alone(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    source = OFFERED.replace("[Given()]", "[Composite('given', 1, ('given',))]")
    install_plugin("round", source=source)
    extraction = extracted(make_dataset(n=3), tmp_path / "cache", "round,stats")
    with pytest.raises(PluginFailure, match="'given' needs 'given', itself made of others"):
        extraction.features(request(extraction, "given"))
    assert extraction.features(request(extraction, "stats")).values.shape[0] == 3


def test_signals_are_handled_as_before(make_dataset: MakeDataset) -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_prints_while_it_computes_is_named_once(
    make_dataset: MakeDataset, install_plugin: InstallPlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    install_plugin("talks", body="print('hello', len(batch)); return batch.flat[:, :16].float()")
    folder = make_dataset(n=6)
    for _ in range(2):
        extracted(folder, None, "talks")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("talks printed 'hello") == 1
    assert err.count("hello 6") == 3
