"""Results of an estimator, as arrays that can be compared."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone

from gnnpre.graphs import CrystalGraphs, FrameLabels

from ._data import CheckData

__all__ = [
    "METHODS",
    "as_arrays",
    "assert_close",
    "assert_same",
    "expect",
    "expect_error",
    "fitted",
    "methods_of",
    "outputs",
    "seeded",
]

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")
# Sums in another order, in single precision.
RTOL = 1e-4
ATOL = 1e-5


def expect(condition: Any, message: str) -> None:
    """Fail a check: an ``assert`` that ``python -O`` leaves in."""
    if not condition:
        raise AssertionError(message)


def expect_error(
    call: Callable[[], Any], what: str, *names: str, errors: Any = (ValueError, TypeError)
) -> None:
    """Fail where a call raises none of the errors, or one whose message has none of the names."""
    error_types = errors if isinstance(errors, tuple) else (errors,)
    try:
        call()
    except error_types as error:
        # Names count as whole words only: "y" is in nearly every message.
        text = str(error)
        if names and not any(name in _words(text) for name in names):
            raise AssertionError(
                f"{what} is refused, but the message names none of {', '.join(names)}: {text!r}"
            ) from error
        return
    except Exception as error:
        raise AssertionError(
            f"{what} is refused by a {type(error).__name__} ({error}); expected "
            f"{' or '.join(error_type.__name__ for error_type in error_types)}."
        ) from error
    raise AssertionError(f"{what} is accepted; expected an error.")


def _words(text: str) -> set[str]:
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())


def seeded(estimator: Any, seed: int | None = 0) -> Any:
    """Clone an estimator, with every ``random_state`` in it set."""
    copy = clone(estimator)
    names = [name for name in copy.get_params() if name.split("__")[-1] == "random_state"]
    return copy.set_params(**dict.fromkeys(names, seed))


def fitted(estimator: Any, data: CheckData, seed: int | None = 0, **metadata: Any) -> Any:
    """Return a fitted clone."""
    copy = seeded(estimator, seed)
    copy.fit(data.structures, data.y, **metadata)
    return copy


def methods_of(estimator: Any) -> list[str]:
    """Name the methods that turn X into something, score aside."""
    return [name for name in METHODS if hasattr(estimator, name)]


def outputs(estimator: Any, X: Any) -> dict[str, Any]:
    """Call every method that turns X into something."""
    return {name: getattr(estimator, name)(X) for name in methods_of(estimator)}


def as_arrays(value: Any) -> list[np.ndarray]:
    """Flatten graphs, labels, tables, lists and dicts of arrays into arrays."""
    if isinstance(value, dict):
        return _flatten(value[key] for key in sorted(value))
    if isinstance(value, (list, tuple)):
        return _flatten(value)
    if isinstance(value, FrameLabels):
        labels = (value.energy, value.forces, value.stress)
        return [np.asarray(label) for label in labels if label is not None]
    if isinstance(value, CrystalGraphs):
        names = ("atomic_numbers", "positions", "cell", "edge_index", "edge_shift")
        tensors = [getattr(value, name).cpu().numpy() for name in names]
        return [*tensors, np.asarray(value.edge_counts)]
    if issparse(value):
        return [value.toarray()]
    return [np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)]


def _flatten(values: Iterable[Any]) -> list[np.ndarray]:
    return [array for value in values for array in as_arrays(value)]


def assert_same(result: Any, expected: Any, message: str) -> None:
    """Fail where two outputs differ in a bit."""
    _compare(result, expected, message, exact=True)


def assert_close(result: Any, expected: Any, message: str) -> None:
    """Fail where two outputs differ by more than sums in another order do."""
    _compare(result, expected, message, exact=False)


def _compare(result: Any, expected: Any, message: str, *, exact: bool) -> None:
    results, expected_arrays = as_arrays(result), as_arrays(expected)
    expect(
        len(results) == len(expected_arrays),
        f"{message}: {len(results)} arrays, not {len(expected_arrays)}.",
    )
    for array, target in zip(results, expected_arrays, strict=True):
        if exact or target.dtype.kind not in "fc" or array.shape != target.shape:
            np.testing.assert_array_equal(array, target, err_msg=message)
        else:
            scale = np.abs(target[np.isfinite(target)]).max(initial=0.0)
            np.testing.assert_allclose(array, target, RTOL, ATOL * scale, err_msg=message)
