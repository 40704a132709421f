"""Checks of parameters, attributes and copies."""

import pickle
import tempfile
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import joblib
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from ._data import CheckData
from ._outputs import assert_same, expect, expect_error, fitted, methods_of, outputs, seeded
from ._registry import is_no_pipeline, is_repeatable, needs_fit, structure_check

__all__: list[str] = []


@structure_check("check_dont_overwrite_parameters")
def check_fitted_attributes_end_in_underscore(estimator: Any, data: CheckData) -> None:
    """All that ``fit`` adds ends (or begins) with an underscore."""
    before = set(vars(estimator))
    added = set(vars(fitted(estimator, data))) - before
    # scikit-learn takes a trailing underscore for the sign of a fitted estimator.
    public = sorted(n for n in added if not n.endswith("_") and not n.startswith("_"))
    expect(not public, f"fit adds attributes that do not end in an underscore: {public}.")


@structure_check("check_estimators_overwrite_params")
def check_fit_keeps_parameters(estimator: Any, data: CheckData) -> None:
    """``fit`` neither replaces a parameter nor changes one in place."""
    model = seeded(estimator)
    # A pipeline's steps are fitted in place: that is scikit-learn's own exception.
    names = [n for n in model.get_params(deep=False) if n not in ("steps", "transformer_list")]
    before = {name: getattr(model, name) for name in names}
    # The same object may have been changed in place: compare its content too.
    hashes = {name: joblib.hash(value) for name, value in before.items()}
    outputs(model.fit(data.structures, data.y), data.structures)
    replaced = [name for name in names if getattr(model, name) is not before[name]]
    expect(not replaced, f"fit replaces parameters: {replaced}.")
    changed = [name for name in names if joblib.hash(getattr(model, name)) != hashes[name]]
    expect(not changed, f"fit changes parameters in place: {changed}.")


@structure_check("check_dict_unchanged")
def check_methods_keep_attributes(estimator: Any, data: CheckData) -> None:
    """Predictions add, remove or replace no attribute, and a second one equals the first."""
    model = fitted(estimator, data)
    before = dict(vars(model))
    first = outputs(model, data.structures)
    after = vars(model)
    expect(set(after) == set(before), f"a prediction adds {sorted(set(after) ^ set(before))}.")
    replaced = [name for name, value in before.items() if after[name] is not value]
    expect(not replaced, f"a prediction replaces attributes: {replaced}.")
    if is_repeatable(estimator):
        assert_same(outputs(model, data.structures), first, "a second prediction")


@structure_check()
def check_clone_is_unfitted(estimator: Any, data: CheckData) -> None:
    """``clone`` of a fitted estimator keeps the parameters and nothing that was learnt."""
    model = fitted(estimator, data)
    copy = clone(model)
    expect(repr(copy) == repr(model), f"clone gives {copy!r}.")
    if not needs_fit(estimator):
        return
    for name in methods_of(model):
        call = getattr(copy, name)
        expect_error(partial(call, data.structures), f"{name} of a clone", errors=NotFittedError)


@structure_check("check_estimators_pickle")
def check_copies(estimator: Any, data: CheckData) -> None:
    """Check that a deepcopy and a pickle, before ``fit`` and after, predict as the original."""
    model = seeded(estimator)
    ways = {"deepcopy": deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}
    unfitted = {way: copy(model) for way, copy in ways.items()}
    expected = outputs(model.fit(data.structures, data.y), data.structures)
    for way, copy in ways.items():
        assert_same(outputs(copy(model), data.structures), expected, f"a {way} of the fitted")
        if is_repeatable(estimator):
            again = unfitted[way].fit(data.structures, data.y)
            assert_same(outputs(again, data.structures), expected, f"a {way} before fit")


@structure_check("check_estimators_pickle")
def check_memory_mapped_pickle(estimator: Any, data: CheckData) -> None:
    """Predict also where the arrays of the fitted are memory-mapped, thus read-only."""
    model = fitted(estimator, data)
    expected = outputs(model, data.structures)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        joblib.dump(model, path)
        mapped = joblib.load(path, mmap_mode="r")
        assert_same(outputs(mapped, data.structures), expected, "a memory-mapped copy")
        del mapped


@structure_check()
def check_html_representation(estimator: Any, data: CheckData) -> None:
    """Be named in the HTML diagram of a notebook: alone, fitted, and in a pipeline."""
    name = type(estimator).__name__
    for model in (estimator, fitted(estimator, data), make_pipeline(clone(estimator))):
        expect(name in model._repr_html_(), f"the HTML representation does not name {name}.")


@structure_check(applies=is_no_pipeline)
def check_tags_of_structures(estimator: Any, data: CheckData) -> None:
    """Check that the tags do not describe X as a table, and have the type of the estimator."""
    tags = get_tags(estimator)
    expect(not tags.input_tags.two_d_array, "input_tags.two_d_array is True: X is not a table.")
    expect(not tags.input_tags.sparse, "input_tags.sparse is True: structures are not sparse.")
    kinds = {"regressor": is_regressor(estimator), "classifier": is_classifier(estimator)}
    for type_name, is_one in kinds.items():
        has_tags = getattr(tags, f"{type_name}_tags") is not None
        expect(is_one == has_tags, f"estimator_type and {type_name}_tags disagree.")
        expect(not is_one or tags.target_tags.required, f"a {type_name} requires y: set the tag.")
