from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from tests.docs.blocks import Block, agrees, blocks, commands, outputs, script
from tests.docs.conftest import ROOT, Session

PAGES = sorted((ROOT / "docs").glob("*.md"))
# a language that is neither run nor parsed is none that a page may use
LANGUAGES = {"console", "python", "toml", "json", "text"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_parses_and_says_its_language(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{page.name}, line {block.line}"
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json":
            json.loads(block.text)
        if block.language == "python":
            compile(block.text, f"{page.name}, line {block.line}", "exec")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if script(blocks(page)) != "set -e\n"], ids=lambda p: p.stem
)
def test_what_a_page_says_to_do_does_what_it_says(page: Path, session: Session) -> None:
    found = blocks(page)
    done = session(script(found))
    printed = outputs(done.stdout)
    last = max(printed, default=0)
    assert done.returncode == 0, f"{page.name}, line {last}:\n{printed.get(last, done.stdout)}"
    for block in (block for block in found if block.language == "console"):
        for command in commands(block):
            where = f"{page.name}, line {command.line}: {command.text}"
            got = printed[command.line]
            assert agrees(command.shown, got), f"{where}\nshown:\n{command.shown}\ngot:\n{got}"


def test_a_script_writes_files_runs_commands_and_tells_their_outputs_apart(
    session: Session,
) -> None:
    page = [
        Block(1, "python", "print('from a file')\n", "one.py"),
        Block(4, "console", "$ python one.py\nfrom a file\n$ cd /; echo 12\n", None),
        Block(9, "python", "import os\nprint(os.getcwd())\n", None),
    ]
    done = session(script(page))
    assert outputs(done.stdout) == {5: "from a file\n", 7: "12\n", 9: "/\n"}


def test_a_script_ends_at_the_first_command_that_fails(session: Session) -> None:
    done = session(script([Block(1, "console", "$ true\n$ false\n$ echo never\n", None)]))
    assert done.returncode == 1
    assert max(outputs(done.stdout)) == 3


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        ("", "anything", True),
        ("took 3.5 s\n", "took 17 s\n", True),
        ("│ stats │ 0.346 │\n", "│   stats   │ 0.1 │\n", True),
        ("│ b │ 2 │\n│ a │ 1 │\n", "│ a │ 3 │\n│ b │ 4 │\n", True),
        ("best on validation: stats\nend\n", "best on validation: spectral\nend\n", True),
        ("first\n...\nlast\n", "first\nand so on\nlast\n", True),
        ("...\na\n...\nb\n", "x a y", False),
        ("stats ok\n", "stats failed\n", False),
        ("first\n", "first\nsecond\n", False),
    ],
)
def test_outputs_agree_but_for_numbers_widths_and_verdicts(
    shown: str, printed: str, agree: bool
) -> None:
    assert agrees(shown, printed) == agree
