"""Checks of names and settings in the declaration of a study."""

import inspect
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from gnnpre.estimators import Pretrainer, PropertyRegressor

__all__ = [
    "FINETUNING",
    "PRETRAINING",
    "as_names",
    "as_tuple",
    "check_finetuning",
    "check_keys",
    "check_known",
    "check_name",
    "check_settings",
    "check_text",
    "check_type",
    "check_unique",
    "set_field",
]

#: Parameters of the estimators that the study sets itself, or the command line.
RESERVED = frozenset(
    {
        *("backbone", "objective", "pretrained", "pretraining", "random_state", "callbacks"),
        *("checkpoint_dir", "resume", "device", "verbose", "n_processes"),
    }
)
# Of no use in a study, which predicts properties and embeds nothing.
UNUSED = frozenset({"embedding_layer", "embedding_pooling"})
PRETRAINING = tuple(sorted({*inspect.signature(Pretrainer).parameters} - RESERVED - UNUSED))
# The protocol says what validates.
FINETUNING = tuple(
    sorted(
        {*inspect.signature(PropertyRegressor).parameters}
        - RESERVED
        - UNUSED
        - {"validation_fraction", "calibration_fraction"}
    )
)
#: Strategies that learn from validation crystals, too, and the kinds of rows that allow for it.
OTHER_KINDS = {"kernel": "kernel", "blended": "blended", "auto": "blended"}
# Names become parts of file names.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def check_name(what: str, name: Any) -> None:
    """Check that a name can be part of a file's name."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"{what} is {name!r}; expected letters, digits, '_', '.', '+' and '-', the first a "
            "letter or a digit."
        )


def check_unique(what: str, names: Sequence[Any]) -> None:
    """Check that no name occurs twice."""
    duplicates = sorted({str(name) for name in names if list(names).count(name) > 1})
    if duplicates:
        raise ValueError(
            f"{what}: {', '.join(duplicates)} occurs more than once; rename or drop one."
        )


def check_keys(what: str, table: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Check that a table has no keys but the allowed ones."""
    if not isinstance(table, Mapping):
        raise TypeError(f"{what} is {table!r}; expected a table of {', '.join(allowed)}.")
    unknown = [name for name in table if name not in allowed]
    if unknown:
        raise ValueError(
            f"{what} has an unknown key {unknown[0]!r}; expected some of {', '.join(allowed)}."
        )


def check_settings(what: str, settings: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Check that settings are parameters of an estimator which the study does not set itself."""
    names = settings if isinstance(settings, Mapping) else ()
    reserved = [name for name in names if name in RESERVED]
    if reserved:
        raise ValueError(
            f"{what} has {reserved[0]!r}, which the study sets itself (device and threads come "
            f"from the call). Expected some of {', '.join(allowed)}."
        )
    check_keys(what, settings, allowed)


def check_finetuning(what: str, settings: Mapping[str, Any]) -> None:
    """Check settings of fine-tuning."""
    check_settings(what, settings, FINETUNING)
    strategy = settings.get("strategy")
    if isinstance(strategy, str) and strategy in OTHER_KINDS:
        raise ValueError(
            f"{what} has strategy={strategy!r}, which learns from validation crystals, too: their "
            f"errors would be too small. Set kind={OTHER_KINDS[strategy]!r} of a strategy of the "
            "study instead."
        )


def as_tuple(what: str, items: Any, example: str) -> tuple[Any, ...]:
    """Return a list of a declaration as a tuple."""
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, (Sequence, np.ndarray)):
        raise TypeError(f"{what} is {items!r}; expected a list, such as {example}.")
    return tuple(items)


def as_names(what: str, names: Any) -> tuple[str, ...]:
    """Return a list of text as a tuple."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(f"{what} is {names!r}; expected a list of str. Put it in brackets.")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what} has {name!r}; expected a list of str.")
    return tuple(names)


def check_known(what: str, names: str | Iterable[str] | None, declared: Sequence[str]) -> None:
    """Check that names refer to something that the study declares."""
    for name in [names] if isinstance(names, str) else names or ():
        if name not in declared:
            raise ValueError(f"{what} is {name!r}; the study has {list(declared)}.")


def check_type(what: str, value: Any, expected: type, example: str) -> None:
    """Check the type of a value."""
    if not isinstance(value, expected):
        raise TypeError(f"{what} is {value!r}; expected a {expected.__name__}, such as {example}.")


def check_text(what: str, value: Any) -> None:
    """Check that a value is text that can be written to a UTF-8 file."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is {value!r}; expected text.")
    bad = [letter for letter in value if unicodedata.category(letter) in ("Cc", "Cs")]
    if bad:
        raise ValueError(
            f"{what} is {value!r}, which has the control character or lone surrogate {bad[0]!r}: "
            "leave it out."
        )


def set_field(item: Any, name: str, value: Any) -> None:
    """Set a field of a frozen object to its checked form."""
    if name not in {field.name for field in fields(item)}:
        raise AttributeError(name)
    object.__setattr__(item, name, value)
