"""Configs by name, so that the file of a saved model needs no import path."""

from collections.abc import Mapping
from inspect import isabstract
from typing import Any

__all__ = ["Registered", "has_taken_name", "registered_classes"]

#: For each name, the classes that bear it, by module and qualified name.
_CLASSES: dict[str, dict[tuple[str, str], type]] = {}


class Registered:
    """Mixin of configs: a file may name each subclass from the moment it is defined.

    Files are read with these classes alone; nothing is imported because a file names it.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A class that is defined again, as in a notebook, replaces itself.
        _CLASSES.setdefault(cls.__name__, {})[cls.__module__, cls.__qualname__] = cls


def registered_classes() -> Mapping[str, type]:
    """Return the registered classes by name, but for names that several classes share.

    A name that gnnpre uses means gnnpre's class, even if a class of the user has it, too.
    """
    classes = {}
    for name, homonyms in _CLASSES.items():
        everyone = list(homonyms.values())
        candidates = [cls for cls in everyone if _is_of_gnnpre(cls)] or everyone
        if len(candidates) == 1 and not isabstract(candidates[0]):
            classes[name] = candidates[0]
    return classes


def has_taken_name(cls: type) -> bool:
    """Return whether a class has the name of one of gnnpre's, for which a file would take it."""
    named = registered_classes().get(cls.__name__, cls)
    return named is not cls and _is_of_gnnpre(named)


def _is_of_gnnpre(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "gnnpre"
