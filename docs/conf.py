"""Sphinx's configuration: MyST pages, docstrings, and pages made from the code itself."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "wsa"
author = "the authors of wsa"
release = metadata.version("wsa")

extensions = ["myst_parser", "sphinx.ext.autodoc", "page_writers"]
exclude_patterns = ["_build"]
# the lock file of a build, and anything else that is no page, is left alone
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# docstrings write `code` in single backticks
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"wsa {release}"
html_copy_source = False
