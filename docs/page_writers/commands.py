"""The command line's page: each command's own `--help`, as a user sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from wsa.cli import app

# of a terminal of 80 columns, and of no terminal at all
WIDTH = 78
HEAD = """\
# The command line

Results go to standard output, talk to standard error. What `--help` prints:
"""


def commands_page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(_section(title, text) for title, text in help_texts().items())])


def help_texts() -> dict[str, str]:
    """Return what `--help` prints after every command, a group before its commands."""
    return dict(_below("wsa", typer.main.get_command(app), None))


def _below(name: str, command: Any, parent: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(command, parent, name, terminal_width=WIDTH)
    yield context.command_path, command.get_help(context)
    for each, below in getattr(command, "commands", {}).items():
        yield from _below(each, below, context)


def _section(title: str, text: str) -> str:
    return f"## `{title}`\n\n```text\n{text.rstrip()}\n```\n"
