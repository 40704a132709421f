"""Energy, forces, stress and info columns of frames, in our units and conventions."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graphs import FrameLabels
from ._composition import reduced_formula
from ._extxyz import Frame
from ._units import unit_factor

__all__ = ["labels_from_frames"]

# Names that files use, in order of preference; one name serves all frames of a call, since two
# may come from two calculations.
_COMMON_KEYS = {
    "energy": ("energy", "REF_energy", "dft_energy", "DFT_energy"),
    "forces": ("forces", "force", "REF_forces", "dft_forces", "DFT_forces"),
    "stress": ("stress", "REF_stress", "dft_stress", "DFT_stress"),
}
_SINGULAR = {"forces": "force"}
# Of the six independent components, as pairs of axes.
_SIX_NUMBERS = {
    "ase": ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)),
    "vasp": ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)),
}
_ASYMMETRY = 0.02  # of the largest component: more is no rounding


def labels_from_frames(
    frames: Sequence[Frame], keys: dict[str, str | None], stress_order: str
) -> FrameLabels:
    """Gather the labels of frames.

    Parameters
    ----------
    frames : sequence of Frame
        At least one.
    keys : dict
        Name of ``energy``, ``forces`` and ``stress`` in the file; None: a common name.
    stress_order : {"ase", "vasp"}
        Order of a stress of six numbers.

    Returns
    -------
    FrameLabels
        The labels, NaN where missing.
    """
    chosen = {label: _choose_key(label, key, frames) for label, key in keys.items()}
    energy_key, forces_key, stress_key = (chosen[k] for k in ("energy", "forces", "stress"))
    return FrameLabels(
        [len(frame.atoms) for frame in frames],
        energy=np.array([_energy(frame, energy_key) for frame in frames]),
        forces=np.concatenate([_forces(frame, forces_key) for frame in frames]),
        stress=np.array([_stress(frame, stress_key, stress_order) for frame in frames]),
        info=_info_columns(frames, {key for key in chosen.values() if key}),
    )


def _choose_key(label: str, key: str | None, frames: Sequence[Frame]) -> str | None:
    """Find the name of a label; None if it has no common name in any frame."""
    for candidate in _COMMON_KEYS[label] if key is None else (key,):
        if any(candidate in frame.values for frame in frames):
            return candidate
    if key is None:
        return None
    available = sorted(set().union(*(frame.values for frame in frames)))
    raise ValueError(
        f"{label}_key={key!r} is in none of the {len(frames)} frames; they have {available}."
    )


def _energy(frame: Frame, key: str | None) -> float:
    value = _numbers(frame, key, "energy")
    if value is None:
        return np.nan
    if value.shape != ():
        raise ValueError(
            f"{key} of {frame.where} has shape {value.shape}; an energy is one number per cell. "
            "Name the total energy with energy_key=."
        )
    return float(value) * _stated_factor(frame, "energy", str(key))


def _forces(frame: Frame, key: str | None) -> np.ndarray:
    expected = (len(frame.atoms), 3)
    value = _numbers(frame, key, "forces")
    if value is None:
        return np.full(expected, np.nan)
    if value.shape != expected:
        raise ValueError(
            f"{key} of {frame.where} has shape {value.shape}; forces of this frame are "
            f"{expected}. Name the forces with forces_key=."
        )
    return value * _stated_factor(frame, "forces", str(key))


def _stress(frame: Frame, key: str | None, order: str) -> np.ndarray:
    """Stress (3, 3) in eV/Å^3; missing where the cell is not periodic in all directions."""
    value = _numbers(frame, key, "stress") if frame.atoms.pbc.all() else None
    if value is None:
        return np.full((3, 3), np.nan)
    matrix = _to_matrix(value, order, f"{key} of {frame.where}")
    if "virial" in str(key).lower():
        volume = abs(np.linalg.det(frame.atoms.cell.array))
        return matrix * (_stated_factor(frame, "virial", str(key)) / -volume)
    return matrix * _stated_factor(frame, "stress", str(key))


def _to_matrix(value: np.ndarray, order: str, what: str) -> np.ndarray:
    """Symmetric matrix from 3x3, nine or six numbers."""
    if value.shape == (6,):
        matrix = np.empty((3, 3))
        for number, (row, column) in zip(value, _SIX_NUMBERS[order], strict=True):
            matrix[row, column] = matrix[column, row] = number
        return matrix
    if value.shape not in {(3, 3), (9,)}:
        raise ValueError(
            f"{what} has shape {value.shape}; a stress is 3x3, nine or six numbers. Name it with "
            "stress_key=."
        )
    matrix = value.reshape(3, 3)
    if np.abs(matrix - matrix.T).max() > _ASYMMETRY * np.abs(matrix).max():
        raise ValueError(
            f"{what} is not symmetric: {matrix.tolist()}. Is it a stress? Name it with stress_key=."
        )
    return (matrix + matrix.T) / 2


def _numbers(frame: Frame, key: str | None, label: str) -> np.ndarray | None:
    """Value of a label as float array; None where it is missing."""
    value = None if key is None else frame.values.get(key)
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"{key} of {frame.where} is {value!r}, no number; leave it out, or write nan, where "
            f"the {label} is missing."
        )
    if np.isinf(array).any():
        raise ValueError(f"{key} of {frame.where} is infinite; write nan where it is missing.")
    return array.astype(np.float64)


def _stated_factor(frame: Frame, label: str, key: str) -> float:
    """Factor to our unit from what the frame states; 1 where it states nothing."""
    factors = {
        name: _read_unit(frame, label, name)
        for name in _unit_names(label, key)
        if name in frame.atoms.info
    }
    if not factors:
        return 1.0
    values = list(factors.values())
    if not np.allclose(values, values[0], rtol=1e-6):
        stated = ", ".join(f"{name}={frame.atoms.info[name]}" for name in factors)
        raise ValueError(
            f"The units that {frame.where} states for {key} contradict each other: {stated}. "
            "Remove the wrong one."
        )
    return float(values[0])


def _unit_names(label: str, key: str) -> list[str]:
    stems = dict.fromkeys((key, label, _SINGULAR.get(label, label)))
    if label == "stress":
        stems["pressure"] = None
    return [stem + suffix for stem in stems for suffix in ("_unit", "_units")]


def _read_unit(frame: Frame, label: str, name: str) -> float:
    try:
        factor, per_atom = unit_factor(str(frame.atoms.info[name]), label)
    except ValueError as error:
        raise ValueError(
            f"{name} of {frame.where}: {error}. Correct {name}, or name another entry with "
            f"{'stress' if label == 'virial' else label}_key=."
        ) from error
    return factor * len(frame.atoms) if per_atom else factor


def _info_columns(frames: Sequence[Frame], label_keys: set[str]) -> dict[str, Any]:
    """One column for each scalar of the comment lines that is neither label nor its unit."""
    consumed = label_keys | {
        unit for label in (*_COMMON_KEYS, "virial") for unit in _unit_names(label, label)
    }
    consumed |= {unit for key in label_keys for unit in _unit_names(key, key)}
    names = dict.fromkeys(
        key
        for frame in frames
        for key, value in frame.atoms.info.items()
        if key not in consumed and np.ndim(value) == 0 and not isinstance(value, dict)
    )
    columns = {name: _column([frame.atoms.info.get(name) for frame in frames]) for name in names}
    columns["formula"] = np.array([reduced_formula(f.atoms.numbers) for f in frames], dtype=object)
    columns["file"] = np.array([frame.file for frame in frames], dtype=object)
    return columns


def _column(values: list[Any]) -> np.ndarray:
    """Numbers as a numeric array (NaN where missing), anything else as objects (None)."""
    kinds = {np.asarray(value).dtype.kind for value in values if value is not None}
    missing = any(value is None for value in values)
    if kinds and kinds <= set("iuf"):
        to_number: Callable[[Any], Any] = float if missing or "f" in kinds else int
        return np.array([np.nan if value is None else to_number(value) for value in values])
    if kinds == {"b"} and not missing:
        return np.array(values, dtype=bool)
    column = np.empty(len(values), dtype=object)
    column[:] = [value if np.ndim(value) == 0 else None for value in values]
    return column
