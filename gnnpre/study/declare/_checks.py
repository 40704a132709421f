"""Checks of names and settings in the declaration of a study."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from gnnpre.estimators import Pretrainer, PropertyRegressor

__all__ = [
    "FINETUNING",
    "PRETRAINING",
    "as_names",
    "check_keys",
    "check_known",
    "check_name",
    "check_settings",
    "check_type",
    "check_unique",
    "set_field",
]

#: Parameters of the estimators that a study sets itself, or the command line.
OWN = frozenset(
    {
        *("backbone", "objective", "pretrained", "pretraining", "random_state", "callbacks"),
        *("checkpoint_dir", "resume", "device", "verbose"),
    }
)
# Of no use in a study: which features a probe reads is fixed.
UNUSED = frozenset({"embedding_layer", "embedding_pooling"})
PRETRAINING = tuple(sorted({*inspect.signature(Pretrainer).parameters} - OWN - UNUSED))
# The protocol says what validates.
FINETUNING = tuple(
    sorted(
        {*inspect.signature(PropertyRegressor).parameters}
        - OWN
        - UNUSED
        - {"validation_fraction", "calibration_fraction"}
    )
)
# Names become parts of file names.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def check_name(what: str, name: Any) -> None:
    """Refuse a name that cannot be part of a file's name."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"{what} is {name!r}; expected letters, digits, '_', '.', '+' and '-', the first a "
            "letter or a digit."
        )


def check_unique(what: str, names: Sequence[Any]) -> None:
    """Refuse a name that occurs twice."""
    twice = sorted({str(name) for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{what}: {', '.join(twice)} occurs more than once; rename or drop one.")


def check_keys(what: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse a key that is not known."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is {given!r}; expected a table of {', '.join(known)}.")
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"{what} has an unknown key {unknown[0]!r}; known are {', '.join(known)}.")


def check_settings(what: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse a parameter that an estimator has not, or that a study sets itself."""
    own = [name for name in given if name in OWN] if isinstance(given, Mapping) else []
    if own:
        raise ValueError(
            f"{what} has {own[0]!r}, which the study sets itself (device and threads come from the "
            f"call). Known are {', '.join(known)}."
        )
    check_keys(what, given, known)


def as_names(what: str, names: Any) -> tuple[str, ...]:
    """Give a list of text as a tuple."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{what} is {names!r}; expected a list of str. Put it in brackets.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} has {name!r}; expected a list of str.")
    return tuple(names)


def check_known(what: str, names: str | Iterable[str] | None, known: Sequence[str]) -> None:
    for name in [names] if isinstance(names, str) else names or ():
        if name not in known:
            raise ValueError(f"{what} is {name!r}; the study has {list(known)}.")


def check_type(what: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{what} is {value!r}; expected a {kind.__name__}, such as {example}.")


def set_field(item: Any, name: str, value: Any) -> None:
    """Set a field of a frozen object to its checked form."""
    if name not in {field.name for field in fields(item)}:
        raise AttributeError(name)
    object.__setattr__(item, name, value)
