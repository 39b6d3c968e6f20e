"""Sphinx configuration. `make docs` builds the site; every warning is an error."""

import os
import sys
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]
# Notebooks run in processes of their own: they import the package beside these pages, on one thread.
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

project = "nucleate"
author = "The nucleate developers"
copyright = author
release = installed_version("nucleate")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "repository_links",
    "generated_pages",
    "docstrings",
    "equations",
]
exclude_patterns = ["_build", "_ext", "**.ipynb_checkpoints"]
suppress_warnings = ["myst.header"]

html_theme = "furo"
html_title = f"nucleate {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "native"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Without ziamath, equations are drawn by MathJax in the reader's browser.
html_math_renderer = "svg" if find_spec("ziamath") else "mathjax"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "jupyter_cache")
nb_execution_timeout = 180
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config,model_post_init"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
