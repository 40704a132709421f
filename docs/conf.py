"""Configuration of Sphinx: ``make docs`` builds the site, and treats warnings as errors."""

import inspect
import os
import shutil
import sys
import urllib.request
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from study_pages import gain_page, study_page  # noqa: E402

import gnnpre  # noqa: E402

BUILD = HERE / "_build"

project = "gnnpre"
author = "The gnnpre developers"
copyright = f"2026, {author}"
version = release = gnnpre.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # the gallery's settings hold functions, which is all it says

# --- Markdown -----------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# --- API reference: one page for each subpackage, from its __all__ -------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # shapes and types stand in the docstrings
numpydoc_show_class_members = False  # the template of classes lists methods and properties
numpydoc_xref_param_type = False
SUBPACKAGES = [name for name in gnnpre.__all__ if inspect.ismodule(getattr(gnnpre, name))]


def write_api_pages() -> None:
    """Write the pages of the API reference, so that they list what there is."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    for name in SUBPACKAGES:
        module = import_module(f"gnnpre.{name}")
        title = f"gnnpre.{name}"
        lines = [title, "=" * len(title), "", f".. automodule:: {title}", ""]
        lines += [
            f".. currentmodule:: {title}",
            "",
            ".. autosummary::",
            "   :toctree: generated",
            "   :nosignatures:",
            "",
        ]
        lines += [f"   {public}" for public in module.__all__]
        _write_if_changed(folder / f"{name}.rst", "\n".join(lines) + "\n")


def _write_if_changed(path: Path, text: str) -> None:
    """Leave an equal file alone: Sphinx reads again what is newer than its cache."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


write_api_pages()  # now: autosummary looks for pages before any event of Sphinx


# --- Model cards: one page for each model of the package ----------------------------------------
def write_card_pages() -> None:
    """Write the cards that the models carry as pages."""
    folder = HERE / "cards"
    folder.mkdir(exist_ok=True)
    for name in gnnpre.list_pretrained():
        text = gnnpre.describe_pretrained(name).to_markdown()
        _write_if_changed(folder / f"{name}.md", text)


write_card_pages()
_write_if_changed(HERE / "study_results.md", study_page())
_write_if_changed(HERE / "model_gains.md", gain_page())

# --- Gallery: the scripts of examples/, run on copies because they write files ------------------
EXAMPLES = BUILD / "examples"
# What an example needs beside gnnpre decides whether it is run or only shown.
NOT_RUN = () if os.environ.get("GNNPRE_DATA") else ("plot_real_crystals",)


def copy_examples() -> None:
    """Copy the examples to where they may write."""
    shutil.rmtree(EXAMPLES, ignore_errors=True)
    EXAMPLES.mkdir(parents=True)
    for path in sorted((HERE.parent / "examples").glob("*.py")):
        shutil.copy(path, EXAMPLES)
    title = "Examples"
    text = "Each script is one idea. Download it, or read it here with what it prints and draws."
    (EXAMPLES / "README.rst").write_text(f"{title}\n{'=' * len(title)}\n\n{text}\n")


copy_examples()
skipped = "|".join(NOT_RUN) or "nothing"
sphinx_gallery_conf = {
    "examples_dirs": str(EXAMPLES),
    "gallery_dirs": "auto_examples",
    "filename_pattern": rf"plot_(?!({skipped.replace('plot_', '')}))",
    "within_subsection_order": "ExampleTitleSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "plot_gallery": "True",
    "abort_on_example_error": True,
}

# --- Links to other projects: with those inventories that can be had ----------------------------
INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "optuna": "https://optuna.readthedocs.io/en/stable/",
    "pymatgen": "https://pymatgen.org/",
}


def find_inventories() -> dict[str, tuple[str, str]]:
    """Fetch the inventories, once; what cannot be reached is left out.

    Sphinx would warn, and warnings are errors: a build without network has fewer links instead.
    """
    folder = BUILD / "inventories"
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for name, url in INVENTORIES.items():
        path = folder / f"{name}.inv"
        if not path.exists() and not _download(f"{url}objects.inv", path):
            continue
        mapping[name] = (url, str(path))
    return mapping


def _download(url: str, path: Path) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            content = answer.read()
    except OSError:
        return False
    if not content.startswith(b"# Sphinx inventory"):
        return False
    path.write_bytes(content)
    return True


intersphinx_mapping = find_inventories()

# --- Look ---------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = "gnnpre"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
toc_object_entries_show_parents = "hide"  # "fit()" in the list of a page about one class
# Pages without a section of their own have nothing to show on the left.
html_sidebars: dict[str, list[str]] = {
    page: [] for page in ("index", "installation", "tutorial", "benchmarks")
}
html_theme_options = {
    "logo": {"text": "gnnpre"},
    "navbar_align": "left",
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "header_links_before_dropdown": 7,
}
html_context = {"default_mode": "auto"}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
