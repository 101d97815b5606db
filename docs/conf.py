"""Sphinx configuration; pages that come from the code are written here, before the build reads them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent))

import generate
import results

from volseg import __version__

project = "volseg"
author = "The volseg developers"
copyright = "the volseg developers; Apache-2.0"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated"]  # the latter is included by pages
html_theme = "furo"
html_title = "volseg"
html_static_path = ["_static"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False

generate.write_all(Path(__file__).parent)
results.write_results(Path(__file__).parent / "_generated")
