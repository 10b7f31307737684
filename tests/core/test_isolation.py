from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import PLUGIN, InstallPlugin, MakeDataset
from tests.core.test_extraction import request

from wsa import listing, parameters
from wsa.cache import Cache
from wsa.errors import PluginFailure, WsaError
from wsa.experiment.config import RunConfig
from wsa.experiment.offers import load_offers
from wsa.experiment.preparation import prepare_extraction
from wsa.extraction import Extraction
from wsa.isolation import Isolation

TIMEOUT = 2.0
NAMED = 'return columns_of(layers, ["feature"])'
HOOK = "return [Given()]"
HANG = "import time; time.sleep(600)"
SEGFAULT = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"

# by name: what stands in the place of what, and the cause
CULPRITS = {
    "hangs": ("BODY", HANG, "needed at most 2 s for a shard of 6 adapters"),
    "ends": ("BODY", "import os; os.kill(os.getpid(), 9)", "its process died .*: SIGKILL"),
    "raises": ("BODY", "raise ValueError('odd')", "it raised ValueError: odd"),
    "columns_hang": (NAMED, HANG, r"needed at most 2 s for columns\(layers\)"),
    "columns_die": (NAMED, SEGFAULT, r"died when it was asked for columns\(layers\): SIGSEGV"),
}
UNLOADED = {
    "import_hangs": (
        "import torch",
        HANG,
        r"to be loaded \(an import's least, whatever",
    ),
    "import_ends": ("import torch", "import os; os.kill(os.getpid(), 9)", "to be loaded: SIGKILL"),
    "import_reads": ("import torch", "input()", "failed to load: EOFError"),
    "hook_hangs": (HOOK, HANG, "needed at most 2 s to be loaded"),
}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsa.remote.LOAD_SECONDS", TIMEOUT)


def install(install_plugin: InstallPlugin, culprits: dict[str, tuple[str, str, str]]) -> None:
    for name, (place, fault, _) in culprits.items():
        source = PLUGIN.format(name=name, version=1, body="BODY")
        given = source.replace(place, fault)
        install_plugin(name, source=given.replace("BODY", "return batch.flat[:, :16].float()"))


def prepared(folder: Path, plugins: str, **knobs: Any) -> tuple[Extraction, dict[str, str]]:
    words = parameters.words(plugins)
    config = RunConfig(dataset=str(folder), plugins=words, cache_features=False)
    extraction, _, failures = prepare_extraction(replace(config, **knobs))
    extraction.ensure()
    return extraction, failures


def test_whoever_hangs_or_dies_is_named_the_others_finish_and_nothing_of_it_is_cached(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin
) -> None:
    install(install_plugin, CULPRITS | UNLOADED)
    install_plugin("honest", body="print('noise'); return batch.flat[:, 1:17].float()")
    cache, folder = tmp_path / "cache", make_dataset(n=6)
    places: dict[str, Any] = {"cache_features": True, "cache_dir": cache}
    names = ",".join(["honest", "stats", *CULPRITS, *UNLOADED])
    found, failures = prepared(folder, names, plugin_timeout=TIMEOUT, **places)
    told = {each.offer.name: problem for each, problem in found.failures.items()} | failures
    for name, (_, _, cause) in (CULPRITS | UNLOADED).items():
        assert re.search(cause, told.pop(name)), name
    assert told == {}
    assert "plugin 'import_ends' (dist-import_ends) failed" in failures["import_ends"]
    kept = {record["inputs"]["representation"] for _, record in Cache(cache).records()}
    assert kept == {"stats", "honest"}
    assert not any(each._running for each in found.isolation.processes.values())
    # in this process, with the same cache: what the other one computed has the same key and bytes
    here, _ = prepared(folder, "honest", **places)
    again, _ = prepared(folder, "honest")
    assert (here.found, here.computed) == (1, 0)
    one, other = (each.features(request(each, "honest")).values for each in (here, again))
    assert torch.equal(one, other)


def test_the_listing_tells_who_hangs_or_dies(install_plugin: InstallPlugin) -> None:
    few = ("import_hangs", "import_ends")
    culprits = {name: UNLOADED[name] for name in few} | {"columns_die": CULPRITS["columns_die"]}
    install(install_plugin, culprits)
    install_plugin("honest", body="pass")
    rows = {row["name"]: row for row in listing.loaded(TIMEOUT)}
    for name, (_, _, cause) in culprits.items():
        assert re.search(cause, rows[name]["status"]), rows[name]
        assert name in rows[name]["status"]
    assert rows["honest"]["status"] == rows["stats"]["status"] == "ok"
    (honest,) = rows["honest"]["representations"]
    assert honest["columns"] == {"factors": 1, "delta": 1}


TOLD = """
from dataclasses import dataclass
from wsa import Composite, LayerwiseRepresentation, hookimpl
print("good morning")

@dataclass(frozen=True)
class Above(LayerwiseRepresentation):
    bound: float = 0.0
    name = "above"
    version = 7
    views = ("factors",)
    feature_names = ("share",)

    def features(self, matrices):
        return (matrices > self.bound).float().mean((1, 2))[:, None]

@hookimpl
def wsa_representations():
    return [Above(), Composite("both", 1, ("above", "stats"))]
"""


def test_a_stranger_elsewhere_is_told_from_others_as_if_it_were_here(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("above", source=TOLD)
    isolation = Isolation(TIMEOUT)
    here = load_offers(["above(bound=0.5)"])
    there = load_offers(["above(bound=0.5)"], isolation=isolation)
    with pytest.raises(WsaError, match=r"no parameter of plugin 'above' called 'bond'") as mistake:
        load_offers(["above(bond=1)"], isolation=isolation)
    isolation.close()
    for one, other in zip(here.offers, there.offers, strict=True):
        assert (one.name, one.told, one.views) == (other.name, other.told, other.views)
        assert one.parameters == other.parameters
    assert not isinstance(mistake.value, PluginFailure)


def test_parameters_at_their_default_name_the_same_representation(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("above", source=TOLD)
    found = load_offers(["above", "above(bound=0.0)", "above(bound=0.5)"])
    assert [each.name for each in found.offers] == ["above", "both", "above(bound=0.5)"]
    assert found.failures == {}


def test_a_hang_ends_soon_after_its_time(
    make_dataset: MakeDataset, install_plugin: InstallPlugin
) -> None:
    install_plugin("culprit", body="import time; time.sleep(600)")
    started = time.monotonic()
    extraction, _ = prepared(make_dataset(n=4), "culprit", plugin_timeout=0.5)
    # importing torch takes seconds on a busy machine; ten minutes it does not
    assert time.monotonic() - started < 90
    assert "needed at most 0.5 s" in extraction.failures[request(extraction, "culprit")]


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("inf"), float("nan")])
def test_a_timeout_is_a_number_of_seconds(timeout: float) -> None:
    with pytest.raises(WsaError, match="plugin_timeout needs a number of seconds above 0; got"):
        Isolation(timeout)


FORKS = "import os, time; p = os.fork() or time.sleep(300); open(PLACE, 'w').write(str(p)); "


@pytest.mark.parametrize("then", [HANG, "os._exit(3)", "return batch.flat[:, :16].float().clone()"])
def test_what_a_plugin_forks_ends_with_it(
    make_dataset: MakeDataset, tmp_path: Path, install_plugin: InstallPlugin, then: str
) -> None:
    place = tmp_path / "forked"
    install_plugin("forks", body=FORKS.replace("PLACE", repr(str(place))) + then)
    started = time.monotonic()
    prepared(make_dataset(n=4), "forks", plugin_timeout=TIMEOUT)
    assert time.monotonic() - started < 90
    # of what has ended, and nobody waited for, no command is told
    forked = Path("/proc", place.read_text(), "cmdline")
    assert not forked.exists() or not forked.read_text()


def test_wsas_own_plugins_stay_in_this_process(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsa.isolation.Process", None)
    extraction, _ = prepared(make_dataset(n=4), "stats,profile", plugin_timeout=TIMEOUT)
    assert extraction.failures == {}
