"""Keys of recipes: a change of what decides the estimator is another job."""

import importlib.util
import sys
import threading

import pytest

from gnnpre.study import Recipe
from gnnpre.study.plan._recipe_code import recipe_parameters

TEXT = """
import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer

ALPHA = 1.0
GRID = {"alpha": np.array([1.0, 2.0])}
UNUSED = 1.0

class Scaled(Ridge):
    factor = 1.0

    def scaled(self):
        return self.coef_

def helper(alpha):
    return Scaled(alpha, tol=TOLERANCE)

TOLERANCE = 1e-3

def by_variable(context):
    return Ridge(ALPHA)

def by_table(context):
    return Ridge(GRID["alpha"][0])

def by_helper(context):
    return helper(1.0)

def by_default(context, alpha=1.0, *, tol=1e-3):
    return Ridge(alpha)

def maker(alpha):
    def make(context):
        return Ridge(alpha)
    return make

closed = maker(1.0)

def by_inner(context):
    return FunctionTransformer(lambda X: X * SCALE)

SCALE = 1.0

class Settings:
    def __init__(self, alpha):
        self.alpha = alpha

    def method(self, context):
        return Ridge(self.alpha)

by_method = Settings(1.0).method

def turns(context):
    return DummyRegressor() if context is None else turns(None)
"""
NAMES = (
    "by_variable",
    "by_table",
    "by_helper",
    "by_default",
    "closed",
    "by_inner",
    "by_method",
    "turns",
)


def parameters(tmp_path, monkeypatch, text):
    """Return the parameters of each recipe of a module with this text."""
    path = tmp_path / f"recipes_{abs(hash(text))}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("recipes", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "recipes", module)  # for pickle
    spec.loader.exec_module(module)
    return {name: recipe_parameters(name, Recipe(make=getattr(module, name))) for name in NAMES}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("UNUSED = 1.0", "UNUSED = 2.0", set()),
        ("ALPHA = 1.0", "ALPHA = 2.0", {"by_variable"}),
        ("[1.0, 2.0]", "[3.0, 2.0]", {"by_table"}),
        ("TOLERANCE = 1e-3", "TOLERANCE = 1e-4", {"by_helper"}),
        ("factor = 1.0", "factor = 2.0", {"by_helper"}),
        ("return self.coef_", "return 2 * self.coef_", {"by_helper"}),
        ("Scaled(alpha,", "Scaled(2 * alpha,", {"by_helper"}),
        ("maker(1.0)", "maker(2.0)", {"closed"}),
        ("SCALE = 1.0", "SCALE = 2.0", {"by_inner"}),
        ("Settings(1.0)", "Settings(2.0)", {"by_method"}),
        ("alpha=1.0", "alpha=2.0", {"by_default"}),
    ],
)
def test_what_a_recipe_uses_is_in_its_key(tmp_path, monkeypatch, old, new, changed):
    before, again = (parameters(tmp_path, monkeypatch, TEXT) for _ in range(2))
    assert before == again
    after = parameters(tmp_path, monkeypatch, TEXT.replace(old, new))
    assert {name for name in NAMES if before[name] != after[name]} == changed


def test_a_value_that_cannot_be_read_is_an_error():
    lock = threading.Lock()

    def make(context):
        with lock:
            return None

    with pytest.raises(ValueError, match="'mine' uses, lock, cannot be read"):
        recipe_parameters("mine", Recipe(make=make))


def test_a_recipe_without_values_has_its_source_alone():
    def make(context):
        return pytest.importorskip("sklearn.dummy").DummyRegressor()

    assert [*recipe_parameters("mine", Recipe(make=make))] == ["source"]
