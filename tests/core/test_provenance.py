from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from tests.conftest import InstallPlugin

from wsa import Composite, LayerwiseRepresentation, registry
from wsa.errors import WsaError
from wsa.provenance import changed_origins, offer_of, origins, source_changed, source_digest
from wsa_plugins.spectral import Spectral


class Local(LayerwiseRepresentation):
    name = "local"
    version = 1
    feature_names = ("x",)


def loaded(name: str) -> registry.Offer:
    return registry.load(registry.named([name])[0])[0]


def test_an_object_of_an_installed_plugin_is_the_plugins_own() -> None:
    by_name, as_object = loaded("spectral(top=3)"), offer_of(Spectral(top=3))
    assert as_object.plugin == by_name.plugin
    assert (as_object.name, as_object.told) == (by_name.name, by_name.told)


def test_a_class_outside_of_any_distribution_is_versioned_by_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = offer_of(Local()).plugin
    monkeypatch.setattr("inspect.getsource", lambda _: "another source")
    after = offer_of(Local()).plugin
    assert before.distribution == after.distribution == "unpackaged"
    assert before.version != after.version


@pytest.mark.parametrize("given", ["spectral", Spectral, 3])
def test_what_is_no_representation_is_refused(given: object) -> None:
    with pytest.raises(WsaError, match="representations needs names of plugins, or objects with"):
        offer_of(given)  # type: ignore[arg-type]


def test_a_source_that_changed_without_its_version_is_noticed(
    install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    install_plugin("given")
    assert not source_changed(loaded("given"), tmp_path)
    assert not source_changed(loaded("given"), tmp_path)
    install_plugin("given", body="return batch.flat[:, :1] + 1")
    assert source_changed(loaded("given"), tmp_path)
    assert source_changed(loaded("given"), tmp_path)
    install_plugin("given", body="return batch.flat[:, :1] + 1", version=2)
    assert not source_changed(loaded("given"), tmp_path)


def test_a_source_is_every_file_of_a_strangers_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "strange_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "numbers_of.py").write_text("FACTOR = 1\n")
    (package / "offered.py").write_text("class Given:\n    name, version = 'given', 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    given = importlib.import_module("strange_package.offered").Given()
    before = source_digest(given)
    (package / "numbers_of.py").write_text("FACTOR = 2\n")
    assert source_digest(given) != before is not None


def test_results_of_two_sources_or_versions_are_told_apart(
    install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    install_plugin("given")
    before = origins([loaded("given"), loaded("stats")], None)
    assert before["given"]["distribution"] == "dist-given"
    assert before["given"]["record"] is None  # the fixture installs without one
    assert before["stats"]["record"] is not None
    assert changed_origins(before, before) == []
    install_plugin("given", body="return batch.flat[:, :1] + 1")
    (line,) = changed_origins(before, origins([loaded("given"), loaded("stats")], None))
    assert line.startswith("given (dist-given): its source changed between the two runs, its ver")
    install_plugin("given", version=2)
    (line,) = changed_origins(before, origins([loaded("given")], None))
    assert line == "given: version 1, dist-given 1.0 -> version 2, dist-given 1.0"


def test_what_is_recorded_is_the_source_that_computed_what_is_cached(
    install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    install_plugin("given")
    first = origins([loaded("given")], tmp_path)
    install_plugin("given", body="return batch.flat[:, :1] + 1")
    assert origins([loaded("given")], tmp_path) == first
    assert origins([loaded("given")], None) != first


def test_a_composite_has_no_source_of_its_own(tmp_path: Path) -> None:
    assert not source_changed(offer_of(Composite("both", 1, ("stats",))), tmp_path)
    assert not list(tmp_path.iterdir())
