"""Every public object is documented in numpydoc's format, with an example that runs."""

import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from numpydoc.validate import get_validation_checks, validate

import gnnpre

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

# Classes and functions without an Examples section, with the reason.
NO_EXAMPLE: dict[str, str] = {}

# Checks of numpydoc that one object may fail, with the reason: {(name, check): reason}.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def chosen_checks() -> set[str]:
    settings = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    return get_validation_checks(set(settings["tool"]["numpydoc_validation"]["checks"]))


def public_objects() -> dict[str, Any]:
    """Collect the classes and functions in the ``__all__`` of each public subpackage."""
    folders = [info.name for info in pkgutil.iter_modules(gnnpre.__path__) if info.ispkg]
    modules = [import_module(f"gnnpre.{folder}") for folder in folders]
    named = {f"{m.__name__}.{name}": getattr(m, name) for m in modules for name in m.__all__}
    return {
        name: value
        for name, value in named.items()
        if inspect.isclass(value) or inspect.isroutine(value)
    }


def public_members(name: str, cls: type) -> Iterator[str]:
    """Yield the public methods and properties that gnnpre defines, not those it inherits."""
    for member in dir(cls):
        # A property is read off the class, so no getter runs.
        value = getattr(cls, member, None)
        function = getattr(value, "fget", None) or getattr(value, "func", None) or value
        if not function.__doc__ and inspect.getdoc(value):
            continue  # it overrides a method whose docstring holds for it too
        defined_here = (getattr(function, "__module__", None) or "").startswith("gnnpre.")
        if defined_here and not member.startswith("_") and not inspect.isclass(value):
            yield f"{name}.{member}"


PUBLIC = public_objects()
MEMBERS = [
    member
    for name, value in PUBLIC.items()
    if inspect.isclass(value)
    for member in public_members(name, value)
]
CHECKS = chosen_checks()


@pytest.mark.parametrize("name", [*PUBLIC, *MEMBERS])
def test_docstring_follows_numpydoc(name):
    errors = [
        f"{code}: {message}"
        for code, message in validate(name)["errors"]
        if code in CHECKS and (name, code) not in EXCEPTIONS
    ]
    assert not errors, "\n".join([name, *errors])


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_has_an_example(name):
    docstring = inspect.cleandoc(PUBLIC[name].__doc__ or "")  # getdoc would inherit one
    has_example = re.search(r"^Examples\n-+$.*^>>> ", docstring, re.M | re.S)
    assert bool(has_example) != (name in NO_EXAMPLE), (
        f"{name}: write an Examples section, or give in NO_EXAMPLE the reason for none"
    )


def test_exemptions_name_public_objects():
    exempted = {*NO_EXAMPLE, *(name for name, _ in EXCEPTIONS)}
    assert exempted <= {*PUBLIC, *MEMBERS}
