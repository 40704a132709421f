"""Items of a large JSON file one after the other, without holding the file.

The depth of brackets is computed for a whole block of bytes at once, so that only the items
themselves are parsed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._file_formats import READ_ERRORS, open_bytes
from ._json_text import parse_json

__all__ = ["JsonItem", "iterate_json"]

_BLOCK = 2**22  # bytes
_LARGEST_ITEM = 2**30  # bytes
_OPENING, _CLOSING, _QUOTE = (ord("{"), ord("[")), (ord("}"), ord("]")), ord('"')
_KEY = re.compile(rb'"((?:[^"\\]|\\.)*)"\s*:\s*$')


class JsonItem(NamedTuple):
    """An item of a JSON file: the keys that lead to it (None in a list), and its content."""

    keys: tuple[str | None, ...]
    content: Any


def iterate_json(path: Path, depth: int) -> Iterator[JsonItem]:
    """Read the dictionaries and lists at one depth of a JSON file.

    Parameters
    ----------
    path : Path
        The file, compressed or not.
    depth : int
        1 for the items of the outermost list or dictionary, 2 for theirs. Numbers and text at
        this depth are left out.

    Yields
    ------
    JsonItem
        The items, in order.

    Raises
    ------
    ValueError
        If the file is truncated or no JSON.
    """
    n_items = 0
    try:
        with open_bytes(path) as stream:
            for keys, text in _split(iter(lambda: stream.read(_BLOCK), b""), depth, path):
                yield JsonItem(keys, _parse(text, path, n_items))
                n_items += 1
    except READ_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(
            f"{path} cannot be read after {n_items} items ({error}): it is truncated or damaged."
        ) from error


def _parse(text: bytes, path: Path, number: int) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"Item {number} of {path} is not JSON ({error}).") from error


def _split(
    blocks: Iterator[bytes], depth: int, path: Path
) -> Iterator[tuple[tuple[str | None, ...], bytes]]:
    """Cut the text of a file into items, with the keys that lead to them."""
    buffer, start_level, in_text = b"", 0, False
    scanned = 0  # bytes of the buffer whose brackets are counted
    keys: list[str | None] = [None] * (depth + 1)
    item_start, seen = -1, False
    for block in blocks:
        # A backslash at the end of a block may escape the next byte: leave it to the next one.
        buffer += block
        end = len(buffer.rstrip(b"\\"))
        brackets = _brackets(buffer[scanned:end], start_level, in_text)
        start_level, in_text = brackets.level, brackets.in_text
        consumed = 0
        for position, level, is_opening in brackets.up_to(depth):
            position += scanned
            seen = True
            if is_opening and level >= 2:
                keys[level - 2] = _key_before(buffer, consumed, position)
            if level == depth + 1:
                item_start = position
                continue
            if not is_opening and level == depth and item_start >= 0:
                yield tuple(keys[:depth]), buffer[item_start : position + 1]
                item_start = -1
            consumed = position + 1
        scanned = end
        cut = item_start if item_start >= 0 else consumed
        buffer, scanned = buffer[cut:], scanned - cut
        item_start = 0 if item_start >= 0 else -1
        if len(buffer) > _LARGEST_ITEM:
            raise ValueError(f"{path} has an item of more than {_LARGEST_ITEM} bytes.")
    if start_level or in_text or not seen:
        raise ValueError(f"{path} is truncated, or no JSON: brackets are not closed.")


def _key_before(buffer: bytes, start: int, position: int) -> str | None:
    match = _KEY.search(buffer[max(start, position - 4096) : position])
    return match[1].decode("utf-8", "replace") if match else None


class _Brackets(NamedTuple):
    """Brackets outside of strings in a piece of JSON, and the state at its end."""

    positions: np.ndarray
    levels: np.ndarray  # after each bracket
    is_opening: np.ndarray
    level: int
    in_text: bool

    def up_to(self, depth: int) -> Iterator[tuple[int, int, bool]]:
        """Yield the brackets that open or close items of a depth, or the lists that hold them."""
        relevant = self.levels <= np.where(self.is_opening, depth + 1, depth)
        columns = (self.positions, self.levels, self.is_opening)
        return zip(*(column[relevant].tolist() for column in columns), strict=True)


def _brackets(text: bytes, level: int, in_text: bool) -> _Brackets:
    if b"\\" in text:
        text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    # 1. escaped quotes and backslashes end no string
    codes = np.frombuffer(text, dtype=np.uint8)
    # 2. brackets outside of strings: each quote turns "inside" over
    inside = np.logical_xor.accumulate(codes == _QUOTE) ^ in_text
    opens = (codes == _OPENING[0]) | (codes == _OPENING[1])
    closes = (codes == _CLOSING[0]) | (codes == _CLOSING[1])
    positions = np.flatnonzero((opens | closes) & ~inside)
    # 3. how deep each of them is nested
    levels = level + np.cumsum(np.where(opens[positions], 1, -1))
    return _Brackets(
        positions,
        levels,
        opens[positions],
        int(levels[-1]) if len(levels) else level,
        bool(inside[-1]) if len(inside) else in_text,
    )
