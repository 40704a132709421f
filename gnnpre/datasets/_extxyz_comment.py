"""The comment line of an extended XYZ frame, as a dictionary."""

import json
import re
from typing import Any

import numpy as np

__all__ = ["JSON_PREFIX", "parse_comment", "parse_value"]

# A name, and after `=` the value up to the next space. A name may be quoted.
_ENTRY = re.compile(
    r"""\s*(?P<name>"[^"\\]*(?:\\.[^"\\]*)*"|[^\s="'{}\[\]]+)      # name
        (?:\s*=\s*(?P<value>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*'|[{\[]|[^\s"'{\[]\S*|$))?""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"{": "}", "[": "]"}
_NUMBER_START = frozenset("+-.0123456789nNiI")
_BOOLEANS = {"T": True, "true": True, "True": True, "TRUE": True} | dict.fromkeys(
    ("F", "false", "False", "FALSE"), False
)
_FORTRAN_EXPONENT = re.compile(r"(?<=[\d.])[dD](?=[+-]?\d)")
JSON_PREFIX = "_JSON "
_LARGEST_INT = 18  # digits: more do not fit an int64, and are a label rather than a number


def parse_comment(line: str) -> dict[str, Any]:
    """Return the entries of a comment line.

    Values are numbers, booleans, arrays of either, the content of ``_JSON`` strings, or else
    text, as ASE reads them. A name without value is True.

    Parameters
    ----------
    line : str
        The line, such as ``Lattice="4 0 0 0 4 0 0 0 4" energy=-1.0 pbc="T T F"``.

    Returns
    -------
    dict
        Names and values, in the order of the line.

    Raises
    ------
    ValueError
        If a quote or bracket is not closed, or JSON is invalid or nested too deeply.
    """
    entries: dict[str, Any] = {}
    position, end = 0, len(line.rstrip())
    while position < end:
        # name=value, name="value with spaces", name={...} or a bare name, which is True.
        match = _ENTRY.match(line, position, end)
        if match is None:
            shown = line[position : position + 30].strip()
            raise ValueError(f"its comment line cannot be read from {shown!r} on (unclosed quote?)")
        position = match.end()
        name, text = match["name"], match["value"]
        if name[0] == '"':
            name = _unquote(name)
        if text is None:
            entries[name] = True
        elif text in _CLOSING:
            text, position = _bracketed(line, position - 1, end)
            entries[name] = parse_value(text)
        else:
            entries[name] = parse_value(_unquote(text) if text[:1] in {'"', "'"} else text)
    return entries


def _unquote(text: str) -> str:
    inner = text[1:-1]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if "\\" in inner else inner


def _bracketed(line: str, start: int, end: int) -> tuple[str, int]:
    """Return the text of ``[...]`` or ``{...}``, nested or not, and where it ends."""
    depth, opening, closing = 0, line[start], _CLOSING[line[start]]
    for position in range(start, end):
        depth += (line[position] == opening) - (line[position] == closing)
        if depth == 0:
            text = line[start + 1 : position]
            # Nested brackets are JSON, and so are dictionaries; "{1 2 3}" is an old-style list.
            is_json = opening in text or '"' in text or ":" in text
            return (JSON_PREFIX + line[start : position + 1] if is_json else text), position + 1
    raise ValueError(f"its comment line has {opening!r} without {closing!r}")


def parse_value(text: str) -> Any:
    """Return a value without its quotes: a number, a boolean, an array, JSON, or text."""
    if text[:1] in _NUMBER_START or text[:1].isspace():
        numbers = _parse_numbers(text)
        if numbers is not None:
            return numbers
    if text[:1] in {"T", "F", "t", "f"}:
        booleans = [_BOOLEANS.get(item) for item in text.replace(",", " ").split()]
        if None not in booleans:
            return booleans[0] if len(booleans) == 1 else np.array(booleans)
    return _parse_json(text) if text.startswith(JSON_PREFIX) else text


def _parse_numbers(text: str) -> Any:
    """Return a number or an array of numbers; None if the text is no such thing."""
    # Python's float() takes "1_000" and non-Latin digits: such text is a label.
    if "_" in text or not text.isascii():
        return None
    items = text.replace(",", " ").split()
    try:
        integers = "." not in text and all(item.lstrip("+-").isdigit() for item in items)
        if integers and max(map(len, items)) > _LARGEST_INT:
            return None
        numbers: list[Any] = [int(item) if integers else float(item) for item in items]
    except ValueError:
        # Fortran writes 1.0D-3 for 1.0e-3.
        plain = _FORTRAN_EXPONENT.sub("e", text)
        return None if plain == text else _parse_numbers(plain)
    if not numbers:
        return None
    return numbers[0] if len(numbers) == 1 else np.array(numbers)


def _parse_json(text: str) -> Any:
    try:
        content = json.loads(text.removeprefix(JSON_PREFIX))
    except RecursionError as error:
        raise ValueError("the JSON in its comment line is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"the JSON in its comment line is invalid ({error})") from error
    if not isinstance(content, list):
        return content
    try:
        array = np.array(content)
    except ValueError:  # ragged
        return content
    return array if array.dtype.kind in "iufb" else content
