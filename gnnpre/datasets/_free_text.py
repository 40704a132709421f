"""Comment lines of XYZ files that are text for people, such as "energy: -5.07 gnorm: 0.0001"."""

import re
from collections.abc import Sequence
from typing import Any

from gnnpre._warnings import DataQualityWarning, warn_user

from ._extxyz_comment import parse_comment
from ._frame_blocks import FrameBlock

__all__ = ["parse_comment_line", "warn_of_energies_in_text"]

_COLUMN = "comment"
_SHOWN = 60  # characters
_NUMBER = r"[-+]?\d+\.\d+(?:[eEdD][-+]?\d+)?"
# A number after the word, or nothing but a number.
_ENERGY = re.compile(rf"(?i)(?:energ\w*|\be(?:tot)?\b)[^\d.]{{0,12}}{_NUMBER}|^{_NUMBER}$")


def parse_comment_line(line: str) -> dict[str, Any]:
    """Return the entries of a comment line; free text, which has no ``=``, as one of them.

    As entries, each word of a text would be a name of its own: thousands of columns in a file
    whose comments hold a number that differs from frame to frame.

    Parameters
    ----------
    line : str
        The line.

    Returns
    -------
    dict
        Names and values.
    """
    if "=" in line or not line.strip():
        return parse_comment(line)
    return {_COLUMN: line.strip()}


def warn_of_energies_in_text(blocks: Sequence[FrameBlock]) -> None:
    """Warn of comment lines whose free text seems to hold an energy, which is not read."""
    rows = [
        (block, row)
        for block in blocks
        for row, entries in enumerate(block.entries)
        if list(entries) == [_COLUMN] and _holds_energy(entries[_COLUMN])
    ]
    if rows:
        block, row = rows[0]
        text = block.entries[row][_COLUMN][:_SHOWN]
        n_frames = sum(map(len, blocks))
        warn_user(
            f"The comment lines of {len(rows)} of {n_frames} frames are text, {text!r} "
            f"of {block.where(row)} first, and numbers in it were not read. If they are energies, "
            "write energy=..., and energy_unit=Ha where they are not in eV.",
            DataQualityWarning,
        )


def _holds_energy(text: Any) -> bool:
    return isinstance(text, str) and _ENERGY.search(text) is not None
