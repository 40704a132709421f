"""Checks of X: every container that holds structures is taken, everything else is refused."""

from collections import Counter
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ._data import CONTAINERS, CheckData
from ._outputs import assert_same, expect, expect_error, fitted, methods_of, outputs, seeded
from ._registry import is_repeatable, structure_check

__all__: list[str] = []

# Two folds of which each has a pair.
FEWEST_EQUAL = 8


@structure_check(
    "check_classifier_data_not_an_array",
    "check_dtype_object",
    "check_estimators_data_not_an_array",
    "check_f_contiguous_array_estimator",
    "check_regressor_data_not_an_array",
    "check_transformer_data_not_an_array",
)
def check_containers(estimator: Any, data: CheckData) -> None:
    """Take a tuple, Series or object array, ``(n,)`` or ``(n, 1)``, as a list is taken."""
    model = fitted(estimator, data)
    expected = outputs(model, data.structures)
    for name, make in CONTAINERS.items():
        X = make(data.structures)
        assert_same(outputs(model, X), expected, f"X as {name}")
        if is_repeatable(estimator):
            refitted = fitted(estimator, CheckData(X, data.y))
            assert_same(outputs(refitted, data.structures), expected, f"fit to X as {name}")


@structure_check()
def check_equal_sized_structures(estimator: Any, data: CheckData) -> None:
    """Structures of one size stay structures: NumPy would make a table of their sites."""
    sizes = [len(structure) for structure in data.structures]
    # np.array(structures) makes a table only of structures with equally many sites.
    common, _ = Counter(sizes).most_common(1)[0]
    rows = [index for index, size in enumerate(sizes) if size == common]
    equal = data.take((rows * FEWEST_EQUAL)[: max(len(rows), FEWEST_EQUAL)])
    model = fitted(estimator, equal)
    _expect_lengths(model, equal.structures)


@structure_check("check_fit2d_1sample")
def check_one_structure_in_a_list(estimator: Any, data: CheckData) -> None:
    """After ``fit`` a list of one structure is fine; for ``fit`` it is, or is refused by name."""
    model = fitted(estimator, data)
    _expect_lengths(model, data.structures[:1])
    one = data.take([0])
    try:
        fitted(estimator, one)
    except ValueError as error:
        hints = ("1 sample", "one sample", "1 crystal", "one crystal", "1 structure", "class")
        expect(any(hint in str(error) for hint in hints), f"fit to one structure: {error}")


def _expect_lengths(model: Any, structures: list[Any]) -> None:
    for name, value in outputs(model, structures).items():
        n = len(next(iter(value.values())) if isinstance(value, dict) else value)
        expect(n == len(structures), f"{name} gives {n} rows for {len(structures)} structures.")


@structure_check("check_fit1d", "check_fit2d_predict1d")
def check_bare_structure_refused(estimator: Any, data: CheckData) -> None:
    """Check that a structure in place of a list is refused: its sites are not samples."""
    bare = data.structures[0]
    _expect_refused(estimator, data, {"a structure without a list around it": bare})


@structure_check("check_estimators_empty_data_messages")
def check_empty_X_refused(estimator: Any, data: CheckData) -> None:
    """No structures are refused, and the message names X."""
    empty = np.empty((0, 1), dtype=object)
    cases: dict[str, Any] = {"X=[]": [], "X=()": (), "X of shape (0, 1)": empty}
    _expect_refused(estimator, data, cases, n=0)


@structure_check(
    "check_complex_data",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimators_partial_fit_n_features",
    "check_fit2d_1feature",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
)
def check_tables_refused(estimator: Any, data: CheckData) -> None:
    """Check that a table, complex or sparse, is refused and X is named."""
    n = len(data)
    table = np.arange(3.0 * n).reshape(n, 3)
    tables = {
        "a table of numbers": table,
        "a table of one column": table[:, :1],
        "a complex table": table * 1j,
        "a sparse table": csr_array(table),
        "a list of rows": table.tolist(),
    }
    _expect_refused(estimator, data, tables)


@structure_check()
def check_non_structures_refused(estimator: Any, data: CheckData) -> None:
    """Check that None, a string, a number and a dict are refused and X is named."""
    n = len(data)
    values = (None, "POSCAR", {"a": 1}, 3, ["POSCAR"] * n, [None] * n)
    _expect_refused(estimator, data, {f"X={X!r:.30}": X for X in values})


def _expect_refused(
    estimator: Any, data: CheckData, cases: dict[str, Any], n: int | None = None
) -> None:
    """Expect an error that names X, for each X in the methods of a fitted model and in fit."""
    model = fitted(estimator, data)
    # y as long as X, so that the error is about X.
    y = data.y if n is None else data.take(range(n)).y
    for what, X in cases.items():
        for name in methods_of(model):
            call = getattr(model, name)
            expect_error(partial(call, X), f"{what} in {name}", "X")
        expect_error(partial(_fit_and_apply, estimator, X, y), f"{what} in fit", "X")


def _fit_and_apply(estimator: Any, X: Any, y: Any) -> None:
    """Fit and transform: an estimator that learns nothing may look at structures only then."""
    model = seeded(estimator)
    model.fit(X, y)
    outputs(model, X)


@structure_check("check_estimators_nan_inf")
def check_bad_coordinates_refused(estimator: Any, data: CheckData) -> None:
    """NaN or infinity among coordinates is refused with the index of the structure."""
    model = fitted(estimator, data)
    for value in (np.nan, np.inf):
        structures = list(data.structures)
        structures[1] = _with_coordinate(structures[1], value)
        for name in methods_of(model):
            call = getattr(model, name)
            expect_error(partial(call, structures), f"{value} in {name}", "1")
        expect_error(partial(_fit_and_apply, estimator, structures, data.y), f"{value} in fit", "1")


def _with_coordinate(structure: Any, value: float) -> Any:
    """Copy a structure and spoil a coordinate of its first atom."""
    copy = deepcopy(structure)
    if hasattr(copy, "arrays"):
        copy.arrays["positions"][0, 0] = value
        return copy
    coordinates = [site.frac_coords for site in copy.sites]
    coordinates[0] = np.array([value, 0.0, 0.0])
    return type(copy)(copy.lattice, [site.species for site in copy.sites], coordinates)
