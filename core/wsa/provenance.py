"""Provenance: which distribution a representation comes from, and whether its source changed."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsa import parameters, registry
from wsa.errors import WsaError
from wsa.registry import Offer, Plugin
from wsa.remote import Remote
from wsa.representation import Composite, Representation
from wsa.storage import canonical_digest, digest, seal, unseal, write_bytes

UNPACKAGED = "unpackaged"
OUR_PACKAGES = ("wsa", "wsa_kernels", "wsa_plugins")

# what may stand in a list of representations: a plugin's name, or an object
Given = str | Representation | Composite


def listed(given: Given | Sequence[Given]) -> list[Given]:
    """Return the representations of a call from Python, each a plugin's name or an object.

    One alone makes a list, and text stands for its words, as after `--plugins`. Raises WsaError
    for none at all.
    """
    if isinstance(given, str):
        return listed(parameters.words(given))
    found: list[Given] = list(given) if isinstance(given, Sequence) else [given]
    if not found:
        raise WsaError("representations needs at least one name or object; got none")
    return found


def offer_of(given: Representation | Composite) -> Offer:
    """Return the offer a representation makes that came as an object, not by a plugin's name.

    Raises WsaError for what is no representation, and for a parameter of another kind.
    """
    if not isinstance(given, Representation | Composite) or isinstance(given, type):
        raise WsaError(
            f"representations needs names of plugins, or objects with name, version, "
            f"columns(layers) and extract(batch); got {given!r}"
        )
    parameters.refuse_mistyped(given)
    return Offer(given, _plugin_of(given))


def source_digest(representation: object) -> str | None:
    """Return a digest of the source a representation is written in; None where there is none.

    That is its module, and where it lies in a stranger's package, every module of the package.
    """
    if isinstance(representation, Remote):
        return representation.source
    if isinstance(representation, Composite):
        return None
    home = type(representation).__module__
    top = home.split(".")[0]
    # a plugin of ours is one file of a package of many
    path = _file(home) if top in OUR_PACKAGES else _file(top) or _file(home)
    if path is None:
        return None
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    return canonical_digest([digest(each.read_bytes()) for each in files if each.is_file()])


def record_digest(distribution: str) -> str | None:
    """Return a digest of what a distribution's installer noted of its files; None where nothing."""
    try:
        text = importlib.metadata.distribution(distribution).read_text("RECORD")
    except importlib.metadata.PackageNotFoundError:
        return None
    return digest(text.encode()) if text else None


def source_changed(offer: Offer, folder: Path) -> bool:
    """Tell whether a representation's source changed while its version stayed.

    What is remembered is the source that first wrote to the cache under that version.
    """
    return _first_source(offer, folder) != source_digest(offer.representation)


def _first_source(offer: Offer, folder: Path) -> str | None:
    found = source_digest(offer.representation)
    if found is None:
        return None
    # without the parameters: one source computes them all
    path = folder / f"{canonical_digest([offer.representation.name, offer.told])}.sealed"
    before = unseal(path.read_bytes()) if path.exists() else None
    if before is None:
        write_bytes(path, seal(found.encode()))
    return before.decode() if before else found


def _plugin_of(given: Representation | Composite) -> Plugin:
    """Find the installed plugin, or else the distribution, whose module defines a class."""
    module = type(given).__module__
    arguments = parameters.changed(given)
    for plugin in registry.everything():
        if plugin.module == module and not plugin.refused:
            return replace(plugin, arguments=arguments)
    owners = importlib.metadata.packages_distributions().get(module.split(".")[0], ["wsa"])
    if module != "__main__" and owners != ["wsa"]:
        version = importlib.metadata.version(owners[0])
        return Plugin(given.name, module, owners[0], version, arguments=arguments)
    # nobody raises the version of a class in a notebook: its own source stands in for one
    return Plugin(given.name, module, UNPACKAGED, _own_source(given), arguments=arguments)


def origins(offers: Iterable[Offer], cached: Path | None) -> dict[str, dict[str, Any]]:
    """Return where each representation comes from, by name, as results record it.

    `source` is the digest of the source its features are cached under, `record` that of its
    distribution's RECORD. A composite has neither numbers nor a source of its own.
    """
    return {
        offer.name: {
            "plugin": offer.plugin.name,
            "distribution": offer.plugin.distribution,
            "distribution_version": offer.plugin.version,
            "version": offer.version,
            "source": _first_source(offer, cached)
            if cached
            else source_digest(offer.representation),
            "record": record_digest(offer.plugin.distribution),
        }
        for offer in offers
    }


def changed_origins(
    before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Say of each representation that two results share whether its source or version changed."""
    found = []
    for name in before.keys() & after.keys():
        one, other = before[name], after[name]
        if _version_told(one) != _version_told(other):
            found.append(f"{name}: {_version_told(one)} -> {_version_told(other)}")
        elif one.get("source") != other.get("source"):
            found.append(
                f"{name} ({one['distribution']}): its source changed between the two runs, its "
                f"{_version_told(one).split(',')[0]} did not"
            )
    return sorted(found)


def _version_told(origin: Mapping[str, Any]) -> str:
    version, distribution = origin["version"], origin["distribution"]
    return f"version {version}, {distribution} {origin['distribution_version']}"


def _file(module: str) -> Path | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    return Path(path) if path else None


def _own_source(given: object) -> str:
    try:
        text = inspect.getsource(type(given))
    except (OSError, TypeError):
        return "0"
    return digest(text.encode())[:12]
