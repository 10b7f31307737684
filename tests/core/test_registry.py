from __future__ import annotations

import sys

import pytest
from tests.conftest import InstallPlugin

from wsa import registry
from wsa.errors import PluginFailure, WsaError

SEEDS = ["distribution", "ensemble", "frequency", "info_theoretic", "matrix_norms"]
SEEDS += ["profile", "rank_based", "sane_s", "simple_stats", "spectral", "statnn", "stats"]
SEEDS += ["unterthiner"]


QUIET = """
from wsa import Composite, hookimpl
@hookimpl
def wsa_representations():
    return [Composite("loud", 1, ("stats",))]
"""
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


def test_a_name_two_distributions_claim_names_both(install_plugin: InstallPlugin) -> None:
    install_plugin("twice", distribution="one")
    install_plugin("twice", distribution="two")
    with pytest.raises(
        WsaError, match=r"two distributions offer plugin 'twice': (one and two|two and one)"
    ):
        registry.installed()


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
