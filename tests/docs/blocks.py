"""The code blocks of a page, and the shell script that does what a reader would do with them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markdown_it import MarkdownIt

# fences in braces are Sphinx's; of these only a code block holds code
DIRECTIVES = {"{toctree}", "{eval-rst}"}
CAPTIONED = "{code-block}"
MARK = "\x1e"
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
BOX = re.compile(r"[\u2500-\u257f]+")
# who is best, and over whom, is another thing on a smaller population
VERDICT = re.compile(r"best on validation: |  over \S+: ")


@dataclass(frozen=True)
class Block:
    """One fence: its language, and the file it is, where it has a caption."""

    line: int
    language: str
    text: str
    file: str | None


@dataclass(frozen=True)
class Command:
    """A line after `$`, and what the page shows of its output."""

    line: int
    text: str
    shown: str


def blocks(page: Path) -> list[Block]:
    """Return every code block of a page, in order."""
    return list(_blocks(page))


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block."""
    found: list[Command] = []
    for place, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            found.append(Command(place, line.removeprefix("$ "), ""))
        else:
            last = found.pop()
            found.append(Command(last.line, last.text, f"{last.shown}{line}\n"))
    return found


def script(page: list[Block]) -> str:
    """Return the script: files are written, commands run in order, Python is run."""
    lines = ["set -e"]
    for block in page:
        if block.file is not None:
            lines.append(_document(f"cat > {shlex.quote(block.file)}", block.text))
        elif block.language == "console":
            for command in commands(block):
                lines += [f"printf '{MARK}%s\\n' {command.line}", command.text]
        elif block.language == "python":
            lines += [f"printf '{MARK}%s\\n' {block.line}", _document("python -", block.text)]
    return "\n".join(lines) + "\n"


def outputs(printed: str) -> dict[int, str]:
    """Return what the command of each line printed."""
    parts = printed.split(MARK)[1:]
    return {int(line): text for line, _, text in (part.partition("\n") for part in parts)}


def agrees(shown: str, printed: str) -> bool:
    """Tell whether an output is as shown, but for `...` and for what `_stable` leaves out."""
    first, *others = (_stable(part) for part in shown.split("..."))
    left = _stable(printed)
    if not others:
        return not first or left == first
    if not left.startswith(first):
        return False
    left, last = left[len(first) :], others.pop()
    for part in others:
        _, found, left = left.partition(part) if part else ("", True, left)
        if not found:
            return False
    return left.endswith(last)


def _stable(text: str) -> str:
    """Return an output without numbers, widths and the order of a table's lines."""
    lines = (line for line in text.splitlines() if not VERDICT.match(line))
    runs = groupby(lines, key=lambda line: line.startswith("│"))
    ordered = (line for rows, run in runs for line in (sorted(run) if rows else run))
    return " ".join(NUMBER.sub("0", BOX.sub(" ", "\n".join(ordered))).split())


def _document(command: str, text: str) -> str:
    return f"{command} <<'END_OF_BLOCK'\n{text.rstrip()}\nEND_OF_BLOCK"


def _blocks(page: Path) -> Iterator[Block]:
    for token in MarkdownIt("commonmark").parse(page.read_text()):
        if token.type != "fence":
            assert token.type != "code_block", f"{page}: an indented block says no language"
            continue
        assert token.map is not None
        directive, _, language = token.info.strip().partition(" ")
        if directive in DIRECTIVES:
            continue
        assert directive == CAPTIONED or not directive.startswith("{"), f"{page}: {directive}"
        caption = re.match(r":caption: (.+)\n\n?", token.content)
        file = caption[1] if caption else None
        text = token.content[caption.end() :] if caption else token.content
        yield Block(token.map[0] + 1, language or directive, text, file)
