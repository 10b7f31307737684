"""Scaffold: a new plugin's package, from templates, that installs and passes its own tests."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from wsa import registry
from wsa.errors import WsaError
from wsa.storage import refusals, write_bytes

# at most as long as wsa admits a representation's name
LONGEST = 60
NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{LONGEST - 1}}}")
# where each template goes, without a kernel and with one
PLAIN = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "ci.yml": ".github/workflows/test.yml",
    "representation.py": "wsa_{{name}}.py",
    "test.py": "tests/test_{{name}}.py",
}
KERNEL = PLAIN | {
    "pyproject-kernel.toml": "pyproject.toml",
    "README-kernel.md": "README.md",
    "representation-kernel.py": "wsa_{{name}}.py",
    "kernel.py": "wsa_{{name}}_kernel.py",
    "conftest.py": "tests/conftest.py",
    "test-kernel.py": "tests/test_{{name}}_kernel.py",
}


def make(name: str, out: Path | None = None, kernel: bool = False) -> Path:
    """Write the package of a new plugin and return its folder.

    Raises WsaError for a name that cannot be one, one that is taken, and a folder that is there.
    """
    _refuse_name(name)
    folder = out or Path(f"wsa-{name.replace('_', '-')}")
    if folder.exists():
        raise WsaError(f"{folder} is there already; choose another --out, or remove it")
    # of two templates for one place the later, the kernel's, is written
    places = {place: template for template, place in (KERNEL if kernel else PLAIN).items()}
    for place, template in places.items():
        path = folder / _filled(place, name)
        with refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _filled(_template(template), name).encode())
    return folder


def _refuse_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise WsaError(
            f"a plugin's name needs a-z, 0-9 and _, a letter first, {LONGEST} characters at most; "
            f"got {name[: LONGEST + 20]!r} of {len(name)}"
        )
    for plugin in registry.everything():
        if plugin.name == name:
            raise WsaError(f"{name!r} is a plugin of {plugin.distribution} already; choose another")
    if find_spec(f"wsa_{name}") or name == "all":
        raise WsaError(f"{name!r} is wsa's own word, or wsa_{name} a module; choose another")


def _template(name: str) -> str:
    return (files("wsa.scaffold") / "templates" / f"{name}.template").read_text()


def _filled(text: str, name: str) -> str:
    # a suffix that no name which the templates import has: `case` would hide wsa's own Case
    class_name = "".join(word.capitalize() for word in name.split("_")) + "Features"
    values = {"name": name, "dashed": name.replace("_", "-"), "class": class_name}
    for key, value in values.items():
        text = text.replace(f"{{{{{key}}}}}", value)
    return text
