# SPDX-License-Identifier: BSD-3-Clause
"""Sphinx configuration: ``make docs``."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from pathlib import Path

from sphinx.util.inspect import stringify_signature
from sphinx.util.typing import stringify_annotation
from sphinx_gallery.sorting import ExplicitOrder

import psmlearn

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
os.environ.setdefault("MPLBACKEND", "Agg")

project = "psmlearn"
author = "psmlearn developers"
copyright = "2026, psmlearn developers"  # noqa: A001
version = release = psmlearn.__version__

extensions = [
    "command_pages",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
myst_enable_extensions = ["deflist"]
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/**/*.md5", "accuracy/*table.md"]
default_role = "literal"
nitpicky = False

autosummary_generate = True
# A signature that does not fit one line has a line for each parameter.
python_maximum_signature_line_length = 100
python_trailing_comma_in_multi_line_signatures = False
# The list of what is on a page names methods without their class, which is its title.
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "subsection_order": ExplicitOrder(
        [
            "../examples/segmentation",
            "../examples/preprocessing",
            "../examples/cluster",
            "../examples/activation",
            "../examples/ki67",
            "../examples/weak_labels",
            "../examples/metrics",
            "../examples/inspection",
            "../examples/files",
        ]
    ),
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("psmlearn",),
    "backreferences_dir": "generated/backreferences",
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_title = "psmlearn"
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("index", "install", "first_steps")}
html_css_files = ["psmlearn.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navigation_depth": 3,
    "show_toc_level": 1,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

# Drawing without a display is what the gallery does; no need to be told.
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")


def show_as_written(app, what, name, obj, options, signature, returned):
    """Show annotations as the source names them: Masks, not all that it stands for."""
    if what not in ("function", "method", "class") or not signature:
        return None
    try:
        shown = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    parameters = list(shown.parameters.values())
    if what == "method" and parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    arguments = shown.replace(
        parameters=parameters, return_annotation=inspect.Signature.empty
    )
    returned = shown.return_annotation
    if returned is inspect.Signature.empty or what == "class":
        returned = None
    elif not isinstance(returned, str):
        returned = stringify_annotation(returned)
    return stringify_signature(arguments), returned


def setup(app):
    app.connect("autodoc-process-signature", show_as_written)
