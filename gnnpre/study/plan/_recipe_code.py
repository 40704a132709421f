"""What decides the estimator of a recipe: the source of its function, and the values it uses."""

import inspect
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType
from typing import Any

from gnnpre._content_key import content_digest

from ..declare._strategy import Recipe

__all__ = ["recipe_parameters"]

#: Values of a class that count; what decorators leave in it may have no stable content.
PLAIN = (bool, int, float, str, tuple, type(None))


def recipe_parameters(name: str, recipe: Recipe) -> dict[str, Any]:
    """Return the source of a recipe's function, and a digest of the values that it uses.

    Raises
    ------
    ValueError
        If the source cannot be read.
    """
    try:
        source = inspect.getsource(recipe.make)
    except (OSError, TypeError) as error:
        raise ValueError(
            f"The source of estimator {name!r} cannot be read ({error}), which its results are "
            "named by. Define its function in a file."
        ) from error
    values = _values_of(recipe.make, ())
    return {"source": source} | ({"values": _digest(name, values)} if values else {})


def _digest(name: str, values: dict[str, Any]) -> str:
    try:
        return content_digest(values)
    except Exception as error:  # whatever an object raises that cannot be pickled
        raise ValueError(
            f"The values that the function of estimator {name!r} uses, {', '.join(values)}, cannot "
            f"be read ({error}), and its results are named by them. Make objects such as open "
            "files inside the function."
        ) from error


def _values_of(function: Any, outer: tuple[Any, ...]) -> dict[str, Any]:
    """Return defaults of a function, and the variables of its module and around it that it uses.

    Functions and classes of the same module stand with their source and their own values; those of
    other modules do not count, nor does the function itself or one in `outer`, which called it.
    """
    function = inspect.unwrap(function)
    instance = getattr(function, "__self__", None)  # of a method
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        return {}
    described = {
        "object of the method": None if inspect.isclass(instance) else instance,
        "defaults of its arguments": function.__defaults__,
        "defaults of its keywords": function.__kwdefaults__,
    }
    values = {key: value for key, value in described.items() if value is not None}
    outer = (*outer, function)
    for key, value in _variables(function):
        if not (inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value)):
            values[key] = value
        elif _is_beside(value, function) and value not in outer:
            values[key] = _code_of(value, outer)
    return values


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield names and values of the variables that a function does not define itself."""
    for name in sorted(set(_names_in(function.__code__)) & function.__globals__.keys()):
        yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if cell != CellType():  # nothing has been assigned to it yet
            yield name, cell.cell_contents


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that code and the functions defined in it use, attributes among them."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _code_of(value: Any, outer: tuple[Any, ...]) -> Any:
    """Return the source of a function with the values that it uses, or those of a class."""
    if not inspect.isclass(value):
        return [inspect.getsource(value), _values_of(value, outer)]
    # By its methods: Python reads the source of a class only of a module that was imported.
    return {
        name: _code_of(item, (*outer, value)) if inspect.isfunction(item) else item
        for name, item in vars(value).items()
        if inspect.isfunction(item) or (isinstance(item, PLAIN) and not name.startswith("__"))
    }


def _is_beside(value: Any, function: Any) -> bool:
    """Return whether a function or class is of the same module as a function."""
    return not inspect.ismodule(value) and value.__module__ == function.__module__
