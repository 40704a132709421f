"""How much better one model is than another over many data sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["average_improvement"]


def average_improvement(
    baseline: Mapping[str, float] | Sequence[float], model: Mapping[str, float] | Sequence[float]
) -> float:
    """Average the improvement of the mean absolute error over data sets, in percent.

    The measure of Jia et al. (2024): the change of the error on each data set as a part of the
    baseline's, ``100 (baseline - model) / baseline``, and of that the plain mean, in which each
    data set counts the same.

    Parameters
    ----------
    baseline : mapping of name to float, or sequence of n floats
        Mean absolute error of the baseline on each data set.
    model : mapping of name to float, or sequence of n floats
        That of the model, with the names of ``baseline``, or in its order.

    Returns
    -------
    float
        Percent; positive is better than the baseline.

    Raises
    ------
    ValueError
        If the data sets are not the same, there is none, or an error is not a positive number (that
        of the model may be 0); the message names the data set.
    TypeError
        If one has names and the other has none, or either is neither mapping nor sequence.

    References
    ----------
    S. Jia et al., "Derivative-based pre-training of graph neural networks for materials property
    predictions", Digital Discovery (2024), last column of table 4.

    Examples
    --------
    >>> from gnnpre import average_improvement
    >>> baseline = {"jdft2d": 50.0, "phonons": 40.0}
    >>> average_improvement(baseline, {"phonons": 42.0, "jdft2d": 40.0})
    7.5
    """
    names, before, after = _paired(baseline, model)
    for name, old, new in zip(names, before, after, strict=True):
        _check_error("baseline", name, old, positive=True)
        _check_error("model", name, new, positive=False)
    return float(
        np.mean([100.0 * (old - new) / old for old, new in zip(before, after, strict=True)])
    )


def _paired(baseline: Any, model: Any) -> tuple[list[str], list[Any], list[Any]]:
    """Return the names and both lists of errors, in one order."""
    # A pandas Series has names too, and is not a Mapping.
    named = [hasattr(errors, "items") for errors in (baseline, model)]
    for argument, errors in (("baseline", baseline), ("model", model)):
        if isinstance(errors, str) or not hasattr(errors, "__iter__"):
            raise TypeError(
                f"{argument} is of type {type(errors).__name__}; expected a mapping from names of "
                "data sets to errors, or a sequence of errors."
            )
    # A mapping beside a sequence: nothing tells which error belongs to which name.
    if named[0] != named[1]:
        raise TypeError(
            f"baseline is a {type(baseline).__name__} and model a {type(model).__name__}: expected "
            "two mappings from names of data sets to errors, or two sequences in one order."
        )
    before, after = (_as_dict(errors, named[0]) for errors in (baseline, model))
    different = [name for name in before if name not in after]
    different += [name for name in after if name not in before]
    if different or not before:
        missing = ", ".join(map(str, different))
        raise ValueError(
            f"baseline has {len(before)} data sets and model {len(after)}"
            + (f"; in one alone: {missing}. " if different else ". ")
            + "Expected the same data sets in both, and one at least."
        )
    return [str(name) for name in before], list(before.values()), [after[name] for name in before]


def _as_dict(errors: Any, named: bool) -> dict[Any, Any]:
    if named:
        return dict(errors.items())
    return {f"number {index}": error for index, error in enumerate(errors)}


def _check_error(argument: str, name: str, error: Any, *, positive: bool) -> None:
    try:
        number = float(error)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or number < 0 or (positive and number == 0):
        raise ValueError(
            f"{argument} is {error!r} for data set {name}; expected a mean absolute error, a "
            f"finite number {'> 0' if positive else '>= 0'}. Leave that data set out of both."
        )
