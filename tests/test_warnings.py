"""Warnings point at the user's line and have classes of their own."""

import ast
import warnings
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

import gnnpre
from gnnpre import exceptions
from gnnpre._home import cache_folder
from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.training import split_train_valid

PACKAGE = Path(gnnpre.__file__).parent


class Warner(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        split_train_valid(2, 0.1, None, 0)
        return self

    def transform(self, X):
        return X


def test_a_warning_points_at_the_line_that_called_gnnpre():
    with pytest.warns(TrainingWarning, match="too few") as record:
        split_train_valid(2, 0.1, None, 0)
    assert record[0].filename == __file__


def test_a_warning_points_past_the_pipeline(monkeypatch):
    monkeypatch.setattr("gnnpre._warnings._INTERNAL", {"gnnpre", "sklearn", __name__})
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        make_pipeline(Warner(), Warner()).fit([0, 1])
    assert record
    assert not any("sklearn" in item.filename for item in record)


def test_the_default_class_is_a_user_warning():
    with pytest.warns(UserWarning, match="something") as record:
        warn_user("something")
    assert record[0].category is exceptions.GnnpreWarning


@pytest.mark.parametrize("name", exceptions.__all__)
def test_classes_derive_from_one(name):
    assert issubclass(getattr(exceptions, name), exceptions.GnnpreWarning)
    assert issubclass(getattr(exceptions, name), UserWarning)


def test_no_module_warns_but_one():
    raw = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "warn"
        and isinstance(node.value, ast.Name)
        and node.value.id == "warnings"
    ]
    assert [place.split(":")[0] for place in raw] == ["_warnings.py"]


def test_the_cache_folder_stays_when_the_working_folder_changes(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.setenv("GNNPRE_HOME", "cache-of-this-test")
    monkeypatch.chdir(tmp_path / "one")
    before = cache_folder("kernels")
    monkeypatch.chdir(tmp_path / "two")
    assert cache_folder("kernels") == before == tmp_path / "one/cache-of-this-test/kernels"


def test_the_cache_folder_knows_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GNNPRE_HOME", "~/x-of-this-test")
    assert cache_folder() == tmp_path / "x-of-this-test"
