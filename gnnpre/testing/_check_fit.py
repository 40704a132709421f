"""Checks of ``fit``: its results, and everything that it must not change."""

import inspect
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from ._data import CheckData
from ._outputs import (
    assert_close,
    assert_same,
    expect,
    expect_error,
    fitted,
    methods_of,
    outputs,
    seeded,
)
from ._registry import is_repeatable, needs_fit, structure_check, transforms

__all__: list[str] = []


@structure_check("check_estimators_fit_returns_self")
def check_fit_returns_self(estimator: Any, data: CheckData) -> None:
    """``fit`` returns the estimator."""
    model = seeded(estimator)
    expect(model.fit(data.structures, data.y) is model, "fit does not return self.")


@structure_check("check_fit_score_takes_y")
def check_y_is_second_argument(estimator: Any, data: CheckData) -> None:
    """``y`` is the second argument of all that a pipeline may pass it to."""
    for name in ("fit", "score", "fit_transform", "fit_predict", "partial_fit"):
        if hasattr(estimator, name):
            arguments = list(inspect.signature(getattr(estimator, name)).parameters)
            expect(arguments[1:2] == ["y"], f"{name}{tuple(arguments)}: y is not the second.")
    if hasattr(estimator, "score"):
        score = fitted(estimator, data).score(data.structures, data.y)
        expect(np.isfinite(score) and np.ndim(score) == 0, f"score gives {score!r}.")


@structure_check(
    "check_estimators_unfitted",
    "check_transformers_unfitted",
    "check_fit_check_is_fitted",
    applies=needs_fit,
)
def check_not_fitted_error(estimator: Any, data: CheckData) -> None:
    """Raise ``NotFittedError`` in every method before ``fit``; pass ``check_is_fitted`` after."""
    model = seeded(estimator)
    for name in methods_of(model):
        call = getattr(model, name)
        expect_error(partial(call, data.structures), f"{name} before fit", errors=NotFittedError)
    check_is_fitted(model.fit(data.structures, data.y))


@structure_check(
    "check_transformers_unfitted_stateless", applies=lambda estimator: not needs_fit(estimator)
)
def check_works_without_fit(estimator: Any, data: CheckData) -> None:
    """Check that a stateless estimator works without ``fit``, as it does after it."""
    expected = outputs(fitted(estimator, data), data.structures)
    assert_same(outputs(seeded(estimator), data.structures), expected, "without fit")


@structure_check("check_transformer_general", applies=transforms)
def check_fit_transform(estimator: Any, data: CheckData) -> None:
    """Check that ``fit_transform`` equals ``fit`` and ``transform``."""
    if not is_repeatable(estimator) or not hasattr(estimator, "fit_transform"):
        return
    expected = fitted(estimator, data).transform(data.structures)
    result = seeded(estimator).fit_transform(data.structures, data.y)
    assert_close(result, expected, "fit_transform")


@structure_check("check_pipeline_consistency", applies=is_repeatable)
def check_pipeline_of_one(estimator: Any, data: CheckData) -> None:
    """Check that a pipeline of one step equals the estimator alone."""
    model = fitted(estimator, data)
    pipeline = make_pipeline(seeded(estimator)).fit(data.structures, data.y)
    expected = outputs(model, data.structures)
    result = {name: getattr(pipeline, name)(data.structures) for name in expected}
    assert_close(result, expected, "in a pipeline")
    if hasattr(model, "score"):
        one, alone = (each.score(data.structures, data.y) for each in (pipeline, model))
        assert_close(one, alone, "the score of a pipeline")


@structure_check("check_fit_idempotent", applies=is_repeatable)
def check_refit(estimator: Any, data: CheckData) -> None:
    """Check that a second ``fit`` equals a first one, whatever the first saw."""
    expected = outputs(fitted(estimator, data), data.structures)
    # Half of the data: classes, elements and scales may differ.
    model = fitted(estimator, data.take(range(len(data) // 2, len(data))))
    for how in ("after other data", "after the same data"):
        model.fit(data.structures, data.y)
        assert_same(outputs(model, data.structures), expected, f"a refit {how}")


@structure_check(applies=is_repeatable)
def check_seed_decides(estimator: Any, data: CheckData) -> None:
    """Check that equal ``random_state`` means equal results, whatever the global states are."""
    results = []
    for seed in (0, 1):
        with _global_seed(seed):
            results.append(outputs(fitted(estimator, data), data.structures))
    assert_same(results[0], results[1], "with equal random_state")


@structure_check()
def check_global_random_state_untouched(estimator: Any, data: CheckData) -> None:
    """No global random state (Python's, NumPy's, torch's) is moved, with a seed or without."""
    seeds: tuple[int | None, ...] = (0, None)
    for seed in seeds:
        before = _global_states()
        model = fitted(estimator, data, seed)
        outputs(model, data.structures)
        moved = [name for name, state in _global_states().items() if state != before[name]]
        expect(not moved, f"random_state={seed} moves the global random state of {moved}.")


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Set the global random states, and put them back."""
    legacy = np.random.get_state()  # noqa: NPY002  (the global state is what is meant)
    states = random.getstate(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    finally:
        np.random.set_state(legacy)  # noqa: NPY002
        random.setstate(states[0])
        torch.set_rng_state(states[1])


def _global_states() -> dict[str, Any]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return {
        "Python": random.getstate(),
        "NumPy": (legacy[1].tobytes(), legacy[2:]),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


@structure_check()
def check_inputs_untouched(estimator: Any, data: CheckData) -> None:
    """Check that structures and labels are unchanged to the byte, with all that they cache."""
    inputs: dict[str, Any] = {"X": data.structures, "y": data.y}
    # A hash of the pickle sees what pymatgen caches in a structure, equality does not.
    before = {name: joblib.hash(value) for name, value in inputs.items()}
    model = fitted(estimator, data)
    outputs(model, data.structures)
    if hasattr(model, "score"):
        model.score(data.structures, data.y)
    changed = [name for name, value in inputs.items() if joblib.hash(value) != before[name]]
    expect(
        not changed,
        f"{' and '.join(changed)} changed (joblib.hash differs). pymatgen caches what its methods "
        "compute in the structure: read sites and lattice.matrix, or work on copies.",
    )


@structure_check("check_readonly_memmap_input", "check_inplace_ensure_writeable")
def check_memory_mapped_input(estimator: Any, data: CheckData) -> None:
    """Structures and labels whose arrays are read-only memory maps do, as joblib's workers get."""
    expected = outputs(fitted(estimator, data), data.structures)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.joblib"
        joblib.dump((data.structures, data.y), path)
        mapped = CheckData(*joblib.load(path, mmap_mode="r"))
        model = fitted(estimator, mapped)
        result = outputs(model, mapped.structures)
        if is_repeatable(estimator):
            assert_same(result, expected, "from memory-mapped input")
        # Windows cannot remove a file that is still mapped.
        del mapped, model, result


@structure_check(
    "check_non_transformer_estimators_n_iter",
    "check_transformer_n_iter",
    applies=lambda estimator: hasattr(estimator, "max_iter"),
)
def check_n_iter(estimator: Any, data: CheckData) -> None:
    """Check that ``n_iter_`` counts the iterations where there is a ``max_iter``."""
    n_iter = getattr(fitted(estimator, data), "n_iter_", None)
    expect(n_iter is not None and np.all(np.asarray(n_iter) >= 1), f"n_iter_ is {n_iter!r}.")
