"""Sphinx's settings for the documentation: `make docs` builds it, without a network."""

import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from from_code import filled

project = "albertqa"
author = "the albertqa authors"
project_copyright = "MIT licence"
release = version = metadata.version("albertqa")
language = "en"
# `--flag` in a sentence stays as it is typed.
smartquotes = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
# Docstrings write code as `name`.
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_custom_sections = ["Shapes", "Source"]
napoleon_use_rtype = False
# Types of other libraries, and of our own that are not public, have no page to link to.
nitpick_ignore_regex = [("py:(class|obj|data|exc)", r".*")]

html_theme = "furo"
html_title = "albertqa"
html_static_path = ["_static"]
html_css_files = ["albertqa.css"]
html_copy_source = False
html_show_sourcelink = False
# A page read from a folder may not fetch other files, so results are shown without an excerpt.
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    """Fill in what is generated from the code."""
    app.connect("source-read", _fill)


def _fill(_app: Sphinx, _page: str, source: list[str]) -> None:
    source[0] = filled(source[0])
