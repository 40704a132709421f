"""Docstrings and names stay plain English: counts per folder may only fall, tests included.

``python benchmarks/readability.py`` prints the counts of the whole package.
"""

import ast
import importlib.util
from pathlib import Path

import pytest

import gnnpre

PACKAGE = Path(gnnpre.__file__).parent
ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "readability.py"

#: Most docstrings with a banned opening, vague names, and uses of "what" and "give" in docstrings.
#: Lower a limit when you have improved a folder; never raise one. "": modules at the top.
LIMITS: dict[str, tuple[int, int, int]] = {
    "": (0, 3, 1),
    "backbones": (0, 0, 0),
    "calculators": (0, 0, 3),
    "cli": (0, 0, 3),
    "datasets": (0, 0, 4),
    "estimators": (0, 0, 7),
    "fingerprints": (0, 0, 1),
    "foundation": (0, 0, 0),
    "graphs": (0, 0, 4),
    "model_selection": (0, 0, 4),
    "objectives": (0, 3, 4),
    "study": (0, 3, 11),
    "testing": (0, 0, 0),
    "training": (0, 0, 4),
}
#: The same for code beside the package.
OUTER_LIMITS: dict[str, tuple[int, int, int]] = {
    "benchmarks": (0, 0, 15),
    "examples": (0, 1, 3),
    "tests": (1, 250, 90),
}


@pytest.fixture(scope="module")
def readability():
    specification = importlib.util.spec_from_file_location("readability", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def folders():
    return ["", *sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))]


def count(readability, sources):
    """Return docstrings with banned openings, vague names, and doubtful words in docstrings."""
    trees = [ast.parse(source) for source in sources]
    openings = sum(
        o in readability.BANNED_OPENINGS for t in trees for o in readability.docstring_openings(t)
    )
    names = sum(name in readability.VAGUE_NAMES for t in trees for name in readability.bindings(t))
    words = sum(readability.count_word(trees, pattern) for pattern in ("what", "gives?"))
    return openings, names, words


@pytest.mark.parametrize("folder", [*folders(), *OUTER_LIMITS])
def test_wording_does_not_get_worse(folder, readability):
    if folder in OUTER_LIMITS:
        paths, limits = (ROOT / folder).rglob("*.py"), OUTER_LIMITS[folder]
    else:
        paths = (PACKAGE / folder).rglob("*.py") if folder else PACKAGE.glob("*.py")
        limits = LIMITS.get(folder, (0, 0, 0))
    counted = count(readability, [path.read_text(encoding="utf-8") for path in paths])
    assert all(n <= limit for n, limit in zip(counted, limits, strict=True)), (
        f"{folder or 'gnnpre'}: {counted} banned openings, vague names and uses of 'what' or 'give'"
        f" in docstrings; at most {limits}. Banned: {sorted(readability.BANNED_OPENINGS)} and "
        f"{sorted(readability.VAGUE_NAMES)}."
    )


def test_counts_see_what_they_are_for(readability):
    source = '''
def place(given):
    """Give what it is."""
    found = given
    return found
'''
    assert count(readability, [source]) == (1, 3, 2)
