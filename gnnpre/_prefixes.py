"""Dictionaries of several objects in one: the keys of each carry its name as a prefix."""

from collections.abc import Mapping
from typing import TypeVar

__all__ = ["add_prefix", "select_prefix"]

T = TypeVar("T")


def add_prefix(name: str, values: Mapping[str, T]) -> dict[str, T]:
    """Return the values under ``name.key``."""
    return {f"{name}.{key}": value for key, value in values.items()}


def select_prefix(name: str, values: Mapping[str, T]) -> dict[str, T]:
    """Return the values under ``name.key`` as ``key``, and no others."""
    start = f"{name}."
    return {k.removeprefix(start): value for k, value in values.items() if k.startswith(start)}
