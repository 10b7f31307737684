"""Pages that the code writes: every one is made anew, before each build, from what it tells of.

The lists in them (columns, flags, fields) are therefore those of the installed wsa.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from page_writers.commands import commands_page
from page_writers.operations import operations_page
from page_writers.representations import representations_page

PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "operations.md": operations_page,
    "features.md": representations_page,
}


def write_pages(folder: Path) -> None:
    """Write every page; one that is as it was keeps its time, so that Sphinx reads it once."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, text = folder / name, page()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Any) -> dict[str, bool]:
    """Have Sphinx call `write_pages` before it looks for sources."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir) / "pages"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
