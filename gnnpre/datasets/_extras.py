"""Packages that only some readers need."""

from importlib import import_module
from typing import Any

__all__ = ["import_extra"]


def import_extra(package: str, extra: str, purpose: str) -> Any:
    """Return a package of one of the extras.

    Parameters
    ----------
    package : str
        The package.
    extra : str
        The extra of gnnpre that has it.
    purpose : str
        The function or class that needs it, for the error.

    Returns
    -------
    module
        The package.

    Raises
    ------
    ImportError
        If it is not installed; the message says how to install it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {package}: install it with pip install 'gnnpre[{extra}]'."
        ) from error
