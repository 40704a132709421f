"""The name of each label in a file: chosen once for all frames, and a report of the others."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user

from ._frame_blocks import FrameBlock
from ._label_lookalikes import components, fold, looks_like
from ._stated_units import is_unit_entry

__all__ = ["LABELS", "choose_names", "find_keys", "virial_name"]

LABELS = ("energy", "forces", "stress")
# Names in order of preference, without case and with "-" as "_". One name serves all frames of a
# call, since two may come from two calculations. Names of a later tier are read only if no frame
# has one of an earlier tier.
_TIERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "energy": (
        ("energy", "ref_energy", "dft_energy"),
        ("free_energy", "total_energy", "potential_energy"),
    ),
    "forces": (("forces", "ref_forces", "dft_forces", "force", "ref_force", "dft_force"),),
    "stress": (
        ("stress", "ref_stress", "dft_stress", "stresses", "ref_stresses", "dft_stresses"),
        ("virial", "ref_virial", "dft_virial", "virials", "ref_virials", "dft_virials"),
    ),
}


def choose_names(
    label: str, key: str | Sequence[str] | None, blocks: Sequence[FrameBlock]
) -> tuple[str, ...]:
    """Return the names of a label, of which a frame's first one is read.

    Parameters
    ----------
    label : {"energy", "forces", "stress"}
        The label.
    key : str, sequence of str or None
        Names as the user passes them; None: a common name.
    blocks : sequence of FrameBlock
        All frames.

    Returns
    -------
    tuple of str
        Empty if the label has no common name in any frame.

    Raises
    ------
    ValueError
        If no frame has any of the names that the user passes.

    Warns
    -----
    UserWarning
        If frames have the label under different names, so that some are not read.
    """
    if key is not None:
        return _check_names(label, key, blocks)
    usable = [[_usable(label, block, row) for row in range(len(block))] for block in blocks]
    counts = Counter(folded for rows in usable for names in rows for folded, _ in names)
    for tier in _TIERS[label]:
        present = [name for name in tier if counts[name]]
        if present:
            name = max(present, key=lambda name: counts[name])  # the first of equals
            _report(label, name, blocks, usable)
            return (name,)
    _report(label, None, blocks, usable)
    _report_components(label, blocks)
    return ()


def find_keys(label: str, names: Sequence[str], block: FrameBlock) -> list[str | None]:
    """Return the entry or column that each frame of a block has a label in.

    Parameters
    ----------
    label : {"energy", "forces", "stress"}
        The label.
    names : sequence of str
        Its names, in order of preference.
    block : FrameBlock
        The frames.

    Returns
    -------
    list of (str or None)
        For each frame the name as it is spelt there, None where it has none.
    """
    columns = (*block.columns, *block.other_columns) if label == "forces" else ()
    names = tuple(names)
    keys = []
    for entries in block.entries:
        key = _first_match(names, (*columns, *entries))
        if key in entries and _is_nothing(entries[key]):
            # A frame may have the next name instead.
            present = [name for name, value in entries.items() if not _is_nothing(value)]
            key = _first_match(names, (*columns, *present))
        keys.append(key)
    return keys


@lru_cache(maxsize=4096)
def virial_name(names: tuple[str, ...]) -> str | None:
    """Return the first common name of a virial among the entries of a frame."""
    return next((name for name in names if fold(name) in _TIERS["stress"][1]), None)


@lru_cache(maxsize=4096)
def _first_match(names: tuple[str, ...], available: tuple[str, ...]) -> str | None:
    # 1. as it is spelt
    for name in names:
        if name in available:
            return name
    # 2. in another case
    for name in names:
        for candidate in available:
            if fold(candidate) == fold(name):
                return candidate
    return None


def _is_nothing(value: Any) -> bool:
    """Return whether an entry stands for a missing number."""
    return value is None or (type(value) is float and value != value)


def _check_names(
    label: str, key: str | Sequence[str], blocks: Sequence[FrameBlock]
) -> tuple[str, ...]:
    names = (key,) if isinstance(key, str) else tuple(key)
    if not names:
        raise ValueError(f"{label}_key is an empty list; expected at least one name.")
    for name in names:
        if any(_has(name, label, block) for block in blocks):
            continue
        # The error lists what there is, which is often the same name in another spelling.
        available = sorted(
            {name for block in blocks for entries in block.entries for name in entries}
            | {name for block in blocks for name in (*block.columns, *block.other_columns)}
        )
        n_frames = sum(map(len, blocks))
        raise ValueError(
            f"{label}_key={name!r} is in none of the {n_frames} frames; they have {available}."
        )
    return names


def _has(name: str, label: str, block: FrameBlock) -> bool:
    columns = (*block.columns, *block.other_columns) if label == "forces" else ()
    return any(_first_match((name,), (*columns, *entries)) is not None for entries in block.entries)


@lru_cache(maxsize=4096)
def _candidates(label: str, available: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the names that may be a label, folded and as they are spelt."""
    names = []
    for name in available:
        folded = fold(name)
        is_common = any(folded in tier for tier in _TIERS[label])
        if (is_common or looks_like(label, name)) and not is_unit_entry(name):
            names.append((folded, name))
    return tuple(names)


def _usable(label: str, block: FrameBlock, row: int) -> list[tuple[str, str]]:
    """Return the candidates of a frame, without those that hold nothing or are of another form.

    A name of the first tier counts in any form: a stress of three numbers is an error, not no
    stress.
    """
    entries = block.entries[row]
    columns = (*block.columns, *block.other_columns) if label == "forces" else ()
    return [
        (folded, name)
        for folded, name in _candidates(label, (*columns, *entries))
        if _has_form(label, folded, name, block, entries)
    ]


def _has_form(
    label: str, folded: str, name: str, block: FrameBlock, entries: dict[str, Any]
) -> bool:
    is_first = folded in _TIERS[label][0]
    if label == "forces" and name in block.columns:
        return True
    if name not in entries:  # a column of another width
        return is_first
    value = entries[name]
    if _is_nothing(value):
        return False
    if is_first:
        return True
    if isinstance(value, (str, bool)):
        return False
    shape = np.shape(value)
    if label == "energy":
        return shape == ()
    return shape in {(6,), (9,), (3, 3)} if label == "stress" else len(shape) == 2


def _report(
    label: str,
    chosen: str | None,
    blocks: Sequence[FrameBlock],
    usable: list[list[list[tuple[str, str]]]],
) -> None:
    """Warn of frames that have the label under another name only, or two different values."""
    elsewhere: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    first_elsewhere = first_differing = ""
    n_elsewhere, spelt = 0, chosen
    for block, rows in zip(blocks, usable, strict=True):
        for row, names in enumerate(rows):
            # Not under the chosen name: the frame has no such label, unless it is elsewhere.
            if chosen is None or all(folded != chosen for folded, _ in names):
                if names:
                    n_elsewhere += 1
                    first_elsewhere = first_elsewhere or block.where(row)
                    elsewhere.update(name for _, name in names)
                continue
            spelt = next(name for folded, name in names if folded == chosen)
            if len(names) > 1 and (rival := _rival(label, chosen, names, block, row)):
                first_differing = first_differing or block.where(row)
                differing[rival] += 1
    if n_elsewhere:
        _warn_elsewhere(
            label, spelt, (n_elsewhere, sum(map(len, blocks))), first_elsewhere, elsewhere
        )
    if differing:
        rivals = ", ".join(f"{name!r} ({count} frames)" for name, count in differing.items())
        warn_user(
            f"Frames have two values of {label} (the first is {first_differing}): {spelt!r} was "
            f"read, and {rivals} differs from it. Pass {label}_key= to choose, such as "
            f"{label}_key={next(iter(differing))!r}.",
            DataQualityWarning,
        )


def _warn_elsewhere(
    label: str, chosen: str | None, n_frames: tuple[int, int], first: str, names: Counter[str]
) -> None:
    listed = ", ".join(f"{name!r} ({count} frames)" for name, count in names.most_common(8))
    read = "" if chosen is None else f"; {chosen!r} was read from the others"
    keys = [*([] if chosen is None else [chosen]), *names][:3]
    cure = f"{label}_key={keys[0]!r}" if len(keys) == 1 else f"{label}_key={keys!r}"
    without, total = n_frames
    if label == "forces" and any("grad" in fold(name) for name in names):
        cure += " (a gradient of the energy is minus the forces: change its sign in the file)"
    warn_user(
        f"The {label} of {without} of {total} frames was not read (the first is {first}): they "
        f"have it under another name, {listed}{read}. If these hold the {label} that you mean, "
        f"of one and the same calculation, pass {cure}; otherwise read such frames separately.",
        DataQualityWarning,
    )


def _report_components(label: str, blocks: Sequence[FrameBlock]) -> None:
    """Warn of a label that stands in single numbers, each under a name of its own."""
    for block in blocks:
        for row, entries in enumerate(block.entries):
            names = components(label, (*entries, *block.other_columns))
            if names:
                cure = "one column, forces:R:3" if label == "forces" else "nine numbers, stress="
                warn_user(
                    f"Single numbers ({', '.join(names)}, ...) of {block.where(row)} and alike "
                    f"seem to be components of {label}, and were not read. Write them as {cure}.",
                    DataQualityWarning,
                )
                return


def _rival(
    label: str, chosen: str, names: list[tuple[str, str]], block: FrameBlock, row: int
) -> str | None:
    """Return another common name of the label whose value in this frame differs."""
    tier = next(tier for tier in _TIERS[label] if chosen in tier)
    values = {name: _value(label, name, block, row) for folded, name in names if folded in tier}
    key = next(name for folded, name in names if folded == chosen)
    for name, value in values.items():
        same_shape = np.shape(value) == np.shape(values[key])
        if not same_shape or not np.allclose(value, values[key], rtol=1e-6, equal_nan=True):
            return name
    return None


def _value(label: str, name: str, block: FrameBlock, row: int) -> Any:
    if label == "forces" and name in block.columns:
        return block.columns[name][block.offsets[row] : block.offsets[row + 1]]
    return block.entries[row][name]
