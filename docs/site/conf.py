"""Sphinx's settings. The pages it reads are made by ``stage.py``."""

from __future__ import annotations

from pathlib import Path

from rllib_reborn import __version__

project = "rllib_reborn"
author = "the rllib_reborn authors"
project_copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["**/.ipynb_checkpoints"]
templates_path = [str(Path(__file__).parent / "templates")]  # autosummary looks beside the sources

myst_enable_extensions: list[str] = []
myst_heading_anchors = 4

nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autodoc_default_options = {"exclude-members": "model_config, model_fields, model_computed_fields, model_post_init"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Attributes as a list of their own: fields of dataclasses would else be described twice.
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"rllib_reborn {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"
