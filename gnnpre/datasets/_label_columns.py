"""Energy, forces, stress and info columns of frames, in our units and conventions."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user

from ..graphs import FrameLabels
from ._frame_blocks import FrameBlock
from ._info_columns import info_columns, is_missing, join_atom_columns
from ._label_keys import LABELS, choose_names, find_keys
from ._stated_units import check_unit_entries, read_factors
from ._stress_matrix import to_matrices
from ._virial_check import warn_of_contradicting_virials

__all__ = ["LabelledBlock", "labels_from_blocks"]

_LABEL_UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å^3"}


class LabelledBlock(NamedTuple):
    """Labels of the frames of a block, NaN where missing, and its geometry in Å."""

    energy: np.ndarray  # (n,)
    forces: np.ndarray  # (N, 3)
    stress: np.ndarray  # (n, 3, 3)
    positions: np.ndarray  # (N, 3)
    cells: np.ndarray  # (n, 3, 3)
    keys: Mapping[str, list[str | None]]  # name of each label in each frame


def labels_from_blocks(
    blocks: Sequence[FrameBlock],
    keys: Mapping[str, str | Sequence[str] | None],
    stress_order: str,
    units: Mapping[str, str],
) -> tuple[list[LabelledBlock], FrameLabels]:
    """Gather the labels of frames.

    Parameters
    ----------
    blocks : sequence of FrameBlock
        At least one.
    keys : mapping
        Names of ``energy``, ``forces`` and ``stress`` in the file; None: a common name.
    stress_order : {"ase", "vasp"}
        Order of a stress of six numbers.
    units : mapping
        Units of labels where the file states none.

    Returns
    -------
    labelled : list of LabelledBlock
        Labels and geometry of each block.
    labels : FrameLabels
        The labels of all frames.
    """
    # 1. names, chosen for all frames together
    names = {label: choose_names(label, keys[label], blocks) for label in LABELS}
    # 2. values and units, block by block
    unstated: dict[str, str] = {}
    label_keys: set[str] = set()
    labelled = []
    for block in blocks:
        block_keys = {label: find_keys(label, names[label], block) for label in LABELS}
        label_keys |= {key for row_keys in block_keys.values() for key in row_keys if key}
        labelled.append(_label_block(block, block_keys, stress_order, units, unstated))
    _warn_of_missing_units(unstated)
    if names["stress"] and not any("virial" in name.lower() for name in names["stress"]):
        warn_of_contradicting_virials(
            blocks,
            [block.stress for block in labelled],
            [block.cells for block in labelled],
            lambda block, keys, cells: _stress(block, keys, stress_order, units, cells)[0],
        )
    # 3. one set of labels
    labels = FrameLabels(
        np.concatenate([block.n_atoms for block in blocks]),
        energy=np.concatenate([block.energy for block in labelled]),
        forces=np.concatenate([block.forces for block in labelled]),
        stress=np.concatenate([block.stress for block in labelled]),
        info=info_columns(blocks, label_keys),
        atom_info=join_atom_columns(
            [block.atom_columns for block in blocks], [len(block.positions) for block in blocks]
        ),
    )
    return labelled, labels


def _label_block(
    block: FrameBlock,
    keys: Mapping[str, list[str | None]],
    stress_order: str,
    units: Mapping[str, str],
    unstated: dict[str, str],
) -> LabelledBlock:
    used = {key for label in LABELS for key in keys[label] if key is not None}
    check_unit_entries(block, sorted(used))
    n = len(block)
    # 1. geometry: virials need the volume in Å^3
    length = read_factors(block, "length", ["positions"] * n, units)
    positions = block.positions * np.repeat(length.factors, block.n_atoms)[:, np.newaxis]
    cells = block.cells * length.factors[:, np.newaxis, np.newaxis]
    # 2. labels
    energy_factors = read_factors(block, "energy", keys["energy"], units)
    force_factors = read_factors(block, "forces", keys["forces"], units)
    stress, stress_is_stated = _stress(block, keys["stress"], stress_order, units, cells)
    energy = _energy(block, keys["energy"]) * energy_factors.factors
    atom_factors = np.repeat(force_factors.factors, block.n_atoms)[:, np.newaxis]
    forces = _forces(block, keys["forces"]) * atom_factors
    # 3. a file of other units that leaves one label without
    converted = {
        "energy": (energy_factors.factors, energy_factors.stated, np.isfinite(energy)),
        "forces": (
            force_factors.factors,
            force_factors.stated,
            np.array([key is not None for key in keys["forces"]]),
        ),
        "stress": (np.ones(n), stress_is_stated, np.isfinite(stress).all(axis=(1, 2))),
    }
    foreign = length.foreign | energy_factors.foreign | force_factors.foreign
    for label, (_, stated, present) in converted.items():
        rows = np.flatnonzero(foreign & present & ~stated)
        if rows.size:
            unstated.setdefault(label, block.where(int(rows[0])))
    return LabelledBlock(energy, forces, stress, positions, cells, keys)


def _warn_of_missing_units(unstated: Mapping[str, str]) -> None:
    for label, where in unstated.items():
        warn_user(
            f"Frames state a unit other than ours for some labels and none for the {label} (the "
            f"first is {where}), which were read in {_LABEL_UNITS[label]}. State {label}_unit= in "
            f"the file, or pass units={{{label!r}: ...}}.",
            DataQualityWarning,
        )


def _energy(block: FrameBlock, keys: Sequence[str | None]) -> np.ndarray:
    values = np.full(len(block), np.nan)
    for row, key in enumerate(keys):
        value = _number(block, row, key, "energy")
        if value is None:
            continue
        if np.shape(value) != ():
            raise ValueError(
                f"{key} of {block.where(row)} has shape {np.shape(value)}; an energy is one number "
                "per cell. Name the total energy with energy_key=."
            )
        values[row] = value
    return values


def _forces(block: FrameBlock, keys: Sequence[str | None]) -> np.ndarray:
    # All frames of a block have the same columns, so one column serves all of them.
    if keys[0] in block.columns:
        return _check_finite(block, block.columns[str(keys[0])], str(keys[0]))
    # Else in the comment line of each frame, as some codes write them.
    forces = np.full((len(block.positions), 3), np.nan)
    for row, key in enumerate(keys):
        if key in block.other_columns:
            raise ValueError(
                f"{key} of {block.where(row)} is not of three numbers per atom (R:3), as forces "
                "are. Name the forces with forces_key=."
            )
        value = _number(block, row, key, "forces")
        if value is None:
            continue
        expected = (int(block.n_atoms[row]), 3)
        if np.shape(value) != expected:
            raise ValueError(
                f"{key} of {block.where(row)} has shape {np.shape(value)}; forces of this frame "
                f"are {expected}. Name the forces with forces_key=."
            )
        forces[block.offsets[row] : block.offsets[row + 1]] = value
    return forces


def _check_finite(block: FrameBlock, values: np.ndarray, key: str) -> np.ndarray:
    infinite = np.flatnonzero(np.isinf(values).any(axis=1))
    if infinite.size:
        row = int(np.searchsorted(block.offsets, infinite[0], side="right")) - 1
        raise ValueError(f"{key} of {block.where(row)} is infinite; write nan where it is missing.")
    return values


def _stress(
    block: FrameBlock,
    keys: Sequence[str | None],
    order: str,
    units: Mapping[str, str],
    cells: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return stresses (n, 3, 3) in eV/Å^3, and of which frames the unit is stated.

    A stress is missing where the cell is not periodic in all directions.
    """
    periodic = np.asarray(block.pbc.all(axis=1))
    stress = np.full((len(block), 3, 3), np.nan)
    values, rows = [], []
    for row, key in enumerate(keys):
        value = _number(block, row, key, "stress") if periodic[row] else None
        if value is not None:
            values.append(value)
            rows.append(row)
    if not rows:
        return stress, np.ones(len(block), dtype=bool)
    stress[rows] = to_matrices(
        values,
        order,
        lambda i: f"{keys[rows[i]]} of {block.where(rows[i])}",
        " Name it with stress_key=.",
    )
    # A virial is -stress * volume.
    is_virial = np.array(["virial" in str(key).lower() for key in keys])
    stress_keys = [None if virial else key for key, virial in zip(keys, is_virial, strict=True)]
    virial_keys = [key if virial else None for key, virial in zip(keys, is_virial, strict=True)]
    stress_factors = read_factors(block, "stress", stress_keys, units)
    virial_factors = read_factors(block, "virial", virial_keys, units)
    volume = np.abs(np.linalg.det(cells))
    volume[~periodic] = np.nan
    factors = np.where(is_virial, virial_factors.factors / -volume, stress_factors.factors)
    stated = np.where(is_virial, virial_factors.stated, stress_factors.stated)
    return stress * factors[:, np.newaxis, np.newaxis], stated


def _number(block: FrameBlock, row: int, key: str | None, label: str) -> Any:
    """Return a label of a frame as a number or float array; None where it is missing."""
    value = None if key is None else block.entries[row].get(key)
    if type(value) is float and abs(value) < np.inf:  # the usual case
        return value
    if value is None or is_missing(value):
        return None
    if np.ma.isMaskedArray(value):
        value = np.ma.filled(value.astype(float), np.nan)
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"{key} of {block.where(row)} is {value!r:.60}, no number; leave it out, or write nan, "
            f"where the {label} is missing."
        )
    if np.isinf(array).any():
        raise ValueError(f"{key} of {block.where(row)} is infinite; write nan where it is missing.")
    return array.astype(np.float64)
