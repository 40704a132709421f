"""Configs as JSON and back: class names and parameters, never an import path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from gnnpre._registry import has_taken_name
from gnnpre._storage import UnsuitableFileError

__all__ = ["from_spec", "to_spec"]


def to_spec(value: Any, name: str = "value") -> Any:
    """Turn a config (an estimator with JSON-able or config parameters) into JSON."""
    # A frozen estimator is fitted: its parameters do not say what it is.
    if isinstance(value, BaseEstimator) and not isinstance(value, FrozenEstimator):
        if has_taken_name(type(value)):
            path = f"{type(value).__module__}.{type(value).__qualname__}"
            raise ValueError(
                f"{name} is of the class {path}, which has the name of a class of gnnpre: a file "
                "could not tell them apart. Rename it."
            )
        params = value.get_params(deep=False)
        return {
            "class": type(value).__name__,
            "params": {key: to_spec(item, f"{name}.{key}") for key, item in params.items()},
        }
    # numpy and paths have no JSON of their own; grids of searches pass numpy scalars.
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = tuple(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Path):
        value = str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        items = [to_spec(item, f"{name}[{index}]") for index, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if isinstance(value, dict):
        # In pairs: keys of JSON are texts, and those of class_weight may be numbers.
        pairs = [[to_spec(x, f"{name}[{key!r}]") for x in (key, value[key])] for key in value]
        return {"dict": pairs}
    raise TypeError(
        f"{name} is of type {type(value).__name__} and cannot be written as JSON; expected "
        "numbers, strings, None, lists, tuples, dicts, or configs made of these."
    )


def from_spec(spec: Any, classes: Mapping[str, type]) -> Any:
    """Build a config from the JSON of :func:`to_spec`, with the classes that are allowed."""
    if not isinstance(spec, dict):
        return spec
    # JSON has lists only: to_spec notes which of the two it was.
    if "list" in spec or "tuple" in spec:
        items = [from_spec(item, classes) for item in spec["tuple" if "tuple" in spec else "list"]]
        return tuple(items) if "tuple" in spec else items
    if "dict" in spec:
        return {from_spec(k, classes): from_spec(value, classes) for k, value in spec["dict"]}
    name = str(spec.get("class"))
    if name not in classes:
        raise UnsuitableFileError(
            f"names a class {name!r}, which is not defined here. Import the module that defines "
            f"it before you load the file, or pass classes=[{name}] to load, as you have to if "
            f"several classes have that name. Defined are {sorted(classes)}."
        )
    params = {key: from_spec(item, classes) for key, item in spec["params"].items()}
    try:
        return classes[name](**params)
    except TypeError as error:
        raise ValueError(
            f"The file's parameters do not fit {name}: {error}. It was written by another version."
        ) from error
