"""What importing gnnpre loads, and which module may import which."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gnnpre

PACKAGE = Path(gnnpre.__file__).parent

# A module imports from its own folder and from layers above it in this list. Private modules at
# the top (gnnpre/_version.py) come before all of them; gnnpre/__init__.py, which re-exports, after.
LAYERS = (
    {"graphs"},
    {"datasets", "fingerprints"},
    {"foundation"},
    {"backbones"},
    {"objectives"},
    {"training"},
    {"pretrained"},
    {"estimators"},
    {"calculators"},
    {"model_selection", "testing", "inspection"},
    {"study"},
    {"cli"},
)
LEVEL = {folder: level for level, layer in enumerate(LAYERS) for folder in layer}
PRIVATE_LEVEL = -1


def run_python(code: str) -> None:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def imported_names(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of all that a file imports, wherever in it."""
    parents = (package.name, *path.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def is_within(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def layer_violation(folder: str | None, name: str) -> str | None:
    """Return why ``folder`` (None: the top) may not import ``name``; nothing if it may."""
    target = name.removeprefix("gnnpre").removeprefix(".").partition(".")[0]
    if target in LEVEL:
        own_level = LEVEL[folder] if folder else PRIVATE_LEVEL
        if target == folder:
            return None
        if LEVEL[target] >= own_level:
            return f"{folder or 'a top-level module'} may not import {target}"
        if name.startswith(f"gnnpre.{target}._"):
            return f"{name} is private: export it in {target}/__init__.py"
        return None
    if target.startswith("_"):
        return None
    return f"import {name} names no folder of gnnpre: import from the folder that defines it"


def third_party_violation(folder: str | None, name: str) -> str | None:
    if is_within(name, "skorch") and folder != "training":
        return "only training imports skorch"
    if folder == "backbones" and is_within(name, "pymatgen"):
        return "backbones know tensors, not pymatgen"
    if folder == "backbones" and is_within(name, "sklearn") and not is_within(name, "sklearn.base"):
        return "backbones import of scikit-learn its sklearn.base alone"
    return None


def import_violations(package: Path) -> list[str]:
    found = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        if relative == Path("__init__.py"):
            continue
        folder = relative.parts[0] if len(relative.parts) > 1 else None
        if folder is not None and folder not in LEVEL:
            found.append(f"{relative}: folder {folder} has no layer yet: add it to LAYERS")
            continue
        for line, name in imported_names(path, package):
            rule = layer_violation if is_within(name, package.name) else third_party_violation
            message = rule(folder, name)
            if message:
                found.append(f"{relative}:{line}: {message}")
    return found


def test_import_gnnpre_loads_only_itself():
    run_python(
        "import sys, warnings, random\n"
        "modules, filters = set(sys.modules), list(warnings.filters)\n"
        "random_state = random.getstate()\n"
        "import gnnpre\n"
        "assert list(warnings.filters) == filters\n"
        "assert random.getstate() == random_state\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - modules}\n"
        "foreign = loaded - {'gnnpre'} - sys.stdlib_module_names\n"
        "assert not foreign, foreign\n"
    )


@pytest.mark.parametrize("name", gnnpre.__all__)
def test_public_name_resolves_and_is_listed(name):
    assert getattr(gnnpre, name) is not None
    assert name in dir(gnnpre)


def test_subpackages_are_attributes_after_a_bare_import():
    run_python("import gnnpre; gnnpre.graphs.CrystalGraphs; gnnpre.estimators.Pretrainer")


def test_unknown_name_raises_attribute_error_that_lists_the_names():
    with pytest.raises(AttributeError, match=r"no attribute 'Pretraner'.*Pretrainer"):
        _ = gnnpre.Pretraner


def test_public_names_equal_what_type_checkers_see():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [alias.name for node in guard.body for alias in node.names]
    assert sorted([*seen, "__version__"]) == sorted(gnnpre.__all__)


@pytest.mark.parametrize("folder", ["graphs", "backbones", "objectives", "training"])
def test_training_core_imports_structure_libraries_lazily(folder):
    # A GPU node that trains from saved graphs may have none of them.
    run_python(
        f"import sys, gnnpre.{folder}\n"
        "loaded = {'pymatgen', 'ase', 'optuna'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )


def test_estimators_never_load_optuna():
    run_python("import sys, gnnpre.estimators; assert 'optuna' not in sys.modules")


def test_imports_follow_the_layers():
    assert import_violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        ("graphs/_a.py", "import gnnpre.training._net", "graphs may not import training"),
        ("graphs/_a.py", "def f():\n    from ..estimators import E", "may not import estimators"),
        ("graphs/_a.py", "from .. import study", "graphs may not import study"),
        (
            "datasets/_a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..backbones import B",
            "datasets may not import backbones",
        ),
        ("graphs/deep/_a.py", "from ...objectives._b import c", "may not import objectives"),
        ("objectives/_a.py", "from gnnpre import CGCNN", "names no folder of gnnpre"),
        ("study/_a.py", "from gnnpre.datasets._b import c", "is private: export it in datasets"),
        ("study/run/_a.py", "from ...datasets._b import c", "is private: export it in datasets"),
        ("_top.py", "from .graphs import CrystalGraphs", "may not import graphs"),
        ("extra/_a.py", "", "has no layer yet"),
        ("estimators/_a.py", "from skorch import NeuralNet", "only training imports skorch"),
        ("backbones/_a.py", "import pymatgen.core", "not pymatgen"),
        ("backbones/_a.py", "from sklearn.utils import resample", "sklearn.base alone"),
    ],
)
def test_checker_reports_a_bad_import(tmp_path, file, code, message):
    bad = tmp_path / "gnnpre" / file
    bad.parent.mkdir(parents=True)
    bad.write_text(code, encoding="utf-8")
    (violation,) = import_violations(tmp_path / "gnnpre")
    assert message in violation


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("graphs/_a.py", "from . import _b\nfrom ._c import d\nfrom gnnpre.graphs._e import f"),
        ("graphs/_a.py", "from .._version import __version__\nimport numpy, pymatgen.core"),
        ("backbones/_a.py", "from sklearn.base import BaseEstimator\nfrom ..graphs import G"),
        ("training/_a.py", "import skorch\nfrom skorch.dataset import Dataset"),
        ("study/_a.py", "from .. import graphs, estimators\nfrom ..inspection import plot"),
    ],
)
def test_checker_accepts_a_good_import(tmp_path, file, code):
    good = tmp_path / "gnnpre" / file
    good.parent.mkdir(parents=True)
    good.write_text(code, encoding="utf-8")
    assert import_violations(tmp_path / "gnnpre") == []


def test_modules_that_windows_lacks_are_not_needed():
    lacking = ("fcntl", "grp", "pwd", "resource", "termios")
    names = ("datasets", "estimators", "model_selection", "study", "cli", "calculators")
    run_python(
        # What other packages do with them is decided when they are imported.
        "import sys, numpy, pandas, sklearn, torch, joblib, ase, pymatgen.core\n"
        f"sys.modules.update(dict.fromkeys({lacking}))\n"
        f"import {', '.join(f'gnnpre.{name}' for name in names)}"
    )
