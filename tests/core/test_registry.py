from __future__ import annotations

import sys

import pytest
from tests.conftest import InstallPlugin

from wsa import registry
from wsa.errors import PluginFailure, WsaError

SEEDS = ["coupling", "distribution", "ensemble", "frequency", "heavy_tail", "info_theoretic"]
SEEDS += ["matrix_norms", "profile", "rank_based", "sane_s", "simple_stats", "spectral"]
SEEDS += ["statnn", "stats", "unterthiner"]


QUIET = """
from wsa import Composite, hookimpl
@hookimpl
def wsa_representations():
    return [Composite("loud", 1, ("stats",))]
"""
UNTYPED = """
from dataclasses import dataclass
from wsa import LayerwiseRepresentation, hookimpl
@dataclass(frozen=True)
class Odd(LayerwiseRepresentation):
    sizes: list = ()
    name = "odd"
    version = 1
@hookimpl
def wsa_representations():
    return [Odd()]
"""
SIDEWAYS = UNTYPED.replace("sizes: list = ()", "views = ('sideways',)")
UNREADABLE = """
class Odd(Exception):
    def __str__(self):
        raise KeyError("odd")
raise Odd
"""


def loaded(name: str) -> list[registry.Offer]:
    return registry.load(registry.named([name])[0])


def test_the_built_ins_arrive_through_entry_points() -> None:
    mine = [plugin.name for plugin in registry.installed() if plugin.distribution == "wsa"]
    assert mine == SEEDS
    assert [offer.name for name in SEEDS for offer in loaded(name)] == SEEDS


def test_a_strangers_plugin_is_found_and_loaded(install_plugin: InstallPlugin) -> None:
    install_plugin("fresh")
    (offer,) = loaded("fresh")
    assert (offer.name, offer.plugin.distribution, offer.plugin.version) == (
        "fresh",
        "dist-fresh",
        "1.0",
    )


def test_listing_imports_no_plugin(install_plugin: InstallPlugin) -> None:
    install_plugin("unseen", source="raise RuntimeError('imported')")
    assert "unseen" in [plugin.name for plugin in registry.installed()]
    assert "module_dist_unseen_unseen" not in sys.modules


def test_an_unknown_plugin_names_the_known_ones() -> None:
    with pytest.raises(WsaError, match=r"no plugin called 'spectrall'.*did you mean 'spectral'"):
        registry.named(["spectrall"])


def test_all_does_not_hide_an_unknown_plugin() -> None:
    with pytest.raises(WsaError, match="no plugin called 'nope'"):
        registry.named(["all", "nope"])


def test_a_name_two_distributions_claim_is_refused_and_names_both(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("twice", distribution="one")
    install_plugin("twice", distribution="two")
    with pytest.raises(
        PluginFailure, match=r"two distributions offer plugin 'twice': (one and two|two and one)"
    ):
        loaded("twice")
    assert [offer.name for offer in loaded("stats")] == ["stats"]


def test_an_allow_list_hides_every_other_plugin(
    install_plugin: InstallPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin("fresh")
    monkeypatch.setenv("WSA_PLUGINS", "fresh,stats")
    assert [plugin.name for plugin in registry.installed()] == ["fresh", "stats"]
    with pytest.raises(
        WsaError, match="no plugin that WSA_PLUGINS allows called 'profile'; known: "
    ):
        registry.named(["profile"])


def test_an_empty_allow_list_allows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSA_PLUGINS", "")
    assert registry.installed() == registry.installed(registry.BENCH_GROUP) == []
    with pytest.raises(WsaError, match="none, since WSA_PLUGINS allows '' only"):
        registry.named(["all"])


def test_an_allow_list_that_names_nobody_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSA_PLUGINS", "statts")
    with pytest.raises(WsaError, match=r"WSA_PLUGINS names one, called 'statts'.*'stats'\?"):
        registry.installed()


def test_parameters_reach_the_representation_and_its_name() -> None:
    (offer,) = loaded("spectral(top=3)")
    assert offer.name == "spectral(top=3)"
    assert [offer.name for offer in loaded("spectral(top=10)")] == ["spectral"]


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("spectral(tip=3)", r"no parameter of plugin 'spectral' called 'tip'; known: top"),
        ("spectral(top=x)", r"spectral\(top=...\) needs int; got 'x'"),
        ("spectral(top=0)", r"spectral\(top=0\): ValueError: top needs 1 to"),
        ("distribution(bins=5)", r"needs 2 or 4 or 8 or 16 or 32 or 64; got 5"),
        ("stats(x=1)", r"no parameter of plugin 'stats' called 'x'; known: none"),
    ],
)
def test_a_bad_parameter_is_the_users_mistake(word: str, problem: str) -> None:
    with pytest.raises(WsaError, match=problem) as raised:
        loaded(word)
    assert not isinstance(raised.value, PluginFailure)


@pytest.mark.parametrize(("line", "works"), [("1", True), ("2", False), ("'1'", False)])
def test_a_plugin_for_another_interface_is_refused(
    install_plugin: InstallPlugin, line: str, works: bool
) -> None:
    install_plugin("dated", source=f"wsa_api_version = {line}\n" + QUIET)
    if works:
        assert loaded("dated")
        return
    with pytest.raises(PluginFailure, match=r"written for version .* and this wsa has version 1"):
        loaded("dated")


def test_a_slow_and_noisy_import_is_noted(
    install_plugin: InstallPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "SLOW_SECONDS", 0.05)
    source = "import time; time.sleep(0.1); print('good   morning')\n" + QUIET
    install_plugin("sleepy", source=source)
    found = registry.load_noted(registry.named(["sleepy"])[0])
    assert found.notes == [
        "its import took 0.1 s, which every run waits for",
        "it printed 'good morning' while it was imported",
    ]


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("x = 1", "offers no representation"),
        ("from wsa import hookimpl\n@hookimpl\ndef wsa_representations(): pass", "offers no repr"),
        (UNREADABLE, "its message cannot be read"),
        (
            "from wsa import hookimpl\n@hookimpl\ndef wsa_representation(): return []",
            "unknown hook",
        ),
        ("from wsa import hookimpl\n@hookimpl\ndef wsa_representations(x): return []", "Argument"),
        (
            "from wsa import hookimpl\n@hookimpl\ndef wsa_representations(): return [1]",
            "offered 'int'",
        ),
        ("from wsa import hookimpl\n@hookimpl\ndef wsa_representations(): return 1", "TypeError"),
        (UNTYPED, "parameter 'sizes' needs an annotation of bool, int, float, str or Literal"),
        (SIDEWAYS, "views needs some of ('factors', 'delta'); got ('sideways',)"),
    ],
)
def test_a_plugin_that_fails_to_load_is_named_with_its_cause(
    install_plugin: InstallPlugin, source: str, cause: str
) -> None:
    install_plugin("broken", source=source)
    with pytest.raises(PluginFailure, match="plugin 'broken'") as raised:
        loaded("broken")
    assert cause in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_a_plugin_prints_on_import_stays_off_standard_output(
    install_plugin: InstallPlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    install_plugin("loud", source="print('hello')\n" + QUIET)
    loaded("loud")
    assert capsys.readouterr().out == ""
