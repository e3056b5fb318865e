"""Sphinx's settings. Warnings are errors in CI: `sphinx-build -W docs <folder>`."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

try:
    release = metadata.version("dfllm")
except metadata.PackageNotFoundError:  # built from a checkout that is not installed
    sys.path.insert(0, str(ROOT / "src"))
    release = "unreleased"

# Sphinx reads below this folder only. The notebooks are shown as they are stored, outputs and all; docs/.gitignore
# keeps the copy out of git.
(HERE / "notebooks").mkdir(exist_ok=True)
for notebook in (ROOT / "notebooks").glob("*.ipynb"):
    shutil.copy2(notebook, HERE / "notebooks" / notebook.name)

project = "dfllm"
author = "The dfllm developers"
copyright = "The dfllm developers, BSD-3-Clause"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute", "_figures.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests/test_notebooks.py runs them

default_role = "code"  # in our docstrings, single backticks stand around names
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "dfllm"
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
