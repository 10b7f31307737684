"""The command line's page: each command's own `--help`, as a user sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from wsa.cli import app

# what a program that is no terminal gets
WIDTH = {"COLUMNS": "80"}
HEAD = """\
# The command line

Results go to standard output, talk to standard error. What `--help` prints:
"""


def commands_page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(words) for words in commands())])


def commands() -> list[tuple[str, ...]]:
    """Return every command as the words after `wsa`, groups before their commands."""
    return list(_below((), typer.main.get_command(app)))


def help_text(words: tuple[str, ...]) -> str:
    """Return what `wsa WORDS --help` prints."""
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="wsa", env=WIDTH)
    assert done.exit_code == 0, done.output
    return done.output


def _below(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
    yield words
    for name, each in getattr(command, "commands", {}).items():
        yield from _below((*words, name), each)


def _section(words: tuple[str, ...]) -> str:
    title = " ".join(["wsa", *words])
    return f"## `{title}`\n\n```text\n{help_text(words).rstrip()}\n```\n"
