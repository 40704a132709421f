"""Checks of results: order, subsets, processes, tables and their names."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline

from ._data import CheckData, take
from ._outputs import assert_close, expect, fitted, outputs, seeded
from ._registry import is_repeatable, structure_check, transforms

__all__: list[str] = []

TABLES = [name for name in ("pandas", "polars") if find_spec(name)]


@structure_check("check_methods_sample_order_invariance", applies=is_repeatable)
def check_order_does_not_matter(estimator: Any, data: CheckData) -> None:
    """Check that structures in another order yield the same rows in that order."""
    model = fitted(estimator, data)
    order = np.random.default_rng(0).permutation(len(data))
    expected = take(outputs(model, data.structures), order)
    assert_close(outputs(model, take(data.structures, order)), expected, "in another order")


@structure_check("check_methods_subset_invariance", applies=is_repeatable)
def check_subsets_do_not_matter(estimator: Any, data: CheckData) -> None:
    """Check that structures one by one yield the same rows as together."""
    model = fitted(estimator, data)
    together = outputs(model, data.structures)
    for index in range(0, len(data), 3):
        alone = outputs(model, data.structures[index : index + 1])
        assert_close(alone, take(together, [index]), f"structure {index} alone")


@structure_check(applies=is_repeatable)
def check_two_processes(estimator: Any, data: CheckData) -> None:
    """Check that fits in two processes equal fits in one: everything can be pickled."""
    if hasattr(estimator, "score"):
        result, expected = (
            cross_val_score(
                seeded(estimator), data.structures, data.y, cv=2, n_jobs=n, error_score="raise"
            )
            for n in (2, 1)
        )
        expect(np.isfinite(result).all(), f"cross_val_score gives {result}.")
    else:
        # A transformer has no score: it is sent to processes by joblib itself.
        halves = [data.take(range(start, len(data), 2)) for start in (0, 1)]
        result, expected = (
            Parallel(n_jobs=n)(delayed(_fit_and_apply)(seeded(estimator), half) for half in halves)
            for n in (2, 1)
        )
    assert_close(result, expected, "in two processes")


def _fit_and_apply(model: Any, data: CheckData) -> dict[str, Any]:
    return outputs(model.fit(data.structures, data.y), data.structures)


@structure_check(
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_dataframe_column_names_consistency",
    applies=transforms,
)
def check_feature_names_out(estimator: Any, data: CheckData) -> None:
    """Check that each column of a table has a name of its own, and other results none.

    Graphs are one column, of shape ``(n,)``: if they have a name, it is that of the input column,
    which the next step of a pipeline may ask for.
    """
    model = fitted(estimator, data)
    result = model.transform(data.structures)
    n_columns = _columns(result)
    if n_columns is None:
        if getattr(result, "shape", None) == (len(data),):
            _check_name_of_column(model)
        else:
            expect(not hasattr(model, "get_feature_names_out"), "there are names, but no columns.")
        return
    expect(hasattr(model, "get_feature_names_out"), "columns have no get_feature_names_out.")
    names = _names(model)
    expect(
        isinstance(names, np.ndarray) and names.dtype == object, "names are not an object array."
    )
    expect(all(isinstance(name, str) for name in names), "names are not strings.")
    expect(len(set(names)) == len(names) == n_columns, f"{len(names)} names, {n_columns} columns.")
    piped = make_pipeline(seeded(estimator)).fit(data.structures, data.y)
    expect(list(_names(piped)) == list(names), "a pipeline has other names.")


def _check_name_of_column(model: Any) -> None:
    """Check that a result of one column has one name or none, and takes over that of its input."""
    if not hasattr(model, "get_feature_names_out"):
        return
    expect(len(_names(model)) == 1, f"{len(_names(model))} names of one column.")
    passed = list(model.get_feature_names_out(["crystal"]))
    expect(passed == ["crystal"], f"the column 'crystal' comes out as {passed}.")


@structure_check(
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    applies=transforms,
)
def check_set_output(estimator: Any, data: CheckData) -> None:
    """Check that ``set_output`` makes a table of columns, and changes nothing else.

    Of a whole pipeline too, which asks it of each step.
    """
    expected = fitted(estimator, data).transform(data.structures)
    for table in ("default", *TABLES):
        pipeline = make_pipeline(seeded(estimator)).set_output(transform=table)
        result = pipeline.fit(data.structures, data.y).transform(data.structures)
        _check_table(result, expected, table, pipeline)


@structure_check(
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    applies=transforms,
)
def check_global_set_output(estimator: Any, data: CheckData) -> None:
    """Follow the global setting as ``set_output``."""
    expected = fitted(estimator, data).transform(data.structures)
    for table in TABLES:
        with config_context(transform_output=table):
            model = fitted(estimator, data)
            _check_table(model.transform(data.structures), expected, table, model)
            both = seeded(estimator).fit_transform(data.structures, data.y)
            _check_table(both, expected, table, model)


def _names(model: Any) -> np.ndarray:
    """Return the names of columns; a pipeline with a graph step has those of its last step."""
    try:
        return np.asarray(model.get_feature_names_out())
    except AttributeError:
        if not isinstance(model, Pipeline):
            raise
        return _names(model[-1])


def _columns(value: Any) -> int | None:
    """Return the number of columns of a table, None for everything else."""
    shape: tuple[int, ...] = tuple(getattr(value, "shape", ()))
    return shape[1] if len(shape) == 2 else None


def _check_table(result: Any, expected: Any, table: str, model: Any) -> None:
    if table == "default" or _columns(expected) is None:
        expect(type(result) is type(expected), f"{table}: transform gives {type(result).__name__}.")
        assert_close(result, expected, f"output as {table}")
        return
    # By the name of the package: pandas and polars need not both be installed.
    module = type(result).__module__.split(".")[0]
    expect(module == table, f"output as {table}: transform gives {type(result)}.")
    names = list(_names(model))
    expect(list(result.columns) == names, f"output as {table}: the columns are not the names.")
    assert_close(result.to_numpy(), expected, f"output as {table}")
