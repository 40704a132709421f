"""Alexandria's JSON files: relaxed structures, and trajectories of relaxations."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gnnpre._validation import check_path
from gnnpre._warnings import DataQualityWarning, warn_user

from ..graphs import Crystals, FrameLabels, arrays_from_dict
from ._json_frames import FrameRecord, gather_frames, numbers_of_atoms, vectors_of_atoms
from ._json_stream import iterate_json
from ._label_checks import check_labels
from ._parameters import check_choice
from ._parquet_rows import KBAR_OF_VASP
from ._stress_matrix import to_matrices
from ._stress_sign import measure_stress_sign

__all__ = ["read_alexandria"]

_INFO = (
    *("mat_id", "e_above_hull", "e_form", "energy_total", "energy_corrected", "band_gap_ind"),
    *("band_gap_dir", "total_mag", "dos_ef", "spg"),
)
_UNITS = {"ev/a^3": 1.0, "vasp": KBAR_OF_VASP, "kbar": -KBAR_OF_VASP}
# A bulk modulus of 100 GPa is 1000 in kbar and 0.6 in eV/Å^3: nothing is in between.
_LARGEST_IN_EV = 20.0


class _Steps(NamedTuple):
    """One step of a relaxation, and the material and functional that it belongs to.

    The number is -1 for a relaxed structure, whose content names the material.
    """

    material: str
    number: int
    functional: str
    content: dict[str, Any]


def read_alexandria(
    path: str | os.PathLike[str], *, stress: str = "auto"
) -> tuple[Crystals, FrameLabels]:
    """Read structures with energies, forces and stresses from a file of Alexandria.

    Parameters
    ----------
    path : str or path-like
        A file of relaxed structures (``alexandria_000.json.bz2``) or of trajectories
        (``pbe_0000.json.bz2``); it is streamed.
    stress : {"auto", "vasp", "kbar", "eV/A^3", "skip"}, default="auto"
        Unit and sign of the stress in the file: kbar, positive in compression (``"vasp"``) or in
        tension (``"kbar"``), or eV/Å^3, positive in tension. Alexandria does not document it, so
        ``"auto"`` takes both from how the stress changes with the volume in the file itself; if
        that cannot be told, the stress is missing, with a warning.

    Returns
    -------
    crystals : Crystals
        The structures; ``ids`` are those of the materials, with the number of the step in
        trajectories.
    labels : FrameLabels
        Energies (eV per cell), forces (eV/Å) and stresses (eV/Å^3, positive in tension), NaN
        where missing. ``info`` has ``mat_id``, by which to split, ``formula``, and such
        columns of the file as ``e_above_hull``, ``e_form``, ``band_gap_ind`` and ``functional``;
        ``atom_info`` has ``magmom``.

    Raises
    ------
    ValueError
        If the file is truncated or of another format, or a frame is invalid.

    Warns
    -----
    UserWarning
        If the unit of the stress cannot be told, or labels are implausible.

    Examples
    --------
    >>> from gnnpre.datasets import read_alexandria
    >>> crystals, labels = read_alexandria("alexandria_000.json.bz2")  # doctest: +SKIP
    >>> hull = labels.info["e_above_hull"]  # doctest: +SKIP
    """
    check_choice("stress", stress, ("auto", "vasp", "kbar", "eV/A^3", "skip"))
    file = check_path("path", path)
    crystals, labels = gather_frames(_iterate_steps(file), _convert, str(file))
    labels = _scale_stress(crystals, labels, stress, str(file))

    ids = np.asarray(crystals.ids)

    def name(label: str, row: int) -> str:
        return f"{label!r} of frame {row} (id {ids[row]}) of {file}"

    check_labels(crystals, labels, name, labels.groups("mat_id"))
    return crystals, labels


def _iterate_steps(path: Path) -> Iterator[_Steps]:
    """Yield the entries of a file of relaxed structures, or all steps of trajectories."""
    # In both layouts an item at depth 2 belongs to a material.
    for item in iterate_json(path, 2):
        if item.keys[0] == "entries":
            yield _Steps("", -1, "", item.content)
            continue
        steps = item.content.get("steps") if isinstance(item.content, dict) else None
        if not isinstance(steps, list):
            raise ValueError(
                f"{path} has {item.keys[0]!r} without steps; expected a file of Alexandria with "
                "'entries', or of trajectories."
            )
        for number, step in enumerate(steps):
            functional = str(item.content.get("functional", ""))
            yield _Steps(str(item.keys[0]), number, functional, step)


def _convert(step: _Steps) -> FrameRecord:
    content = step.content
    # 1. the structure, and forces: beside it, or as properties of its sites
    structure = arrays_from_dict(content["structure"])
    n_atoms = len(structure.atomic_numbers)
    data = content.get("data") or {}
    forces = content.get("forces")
    if forces is None:
        sites = content["structure"]["sites"]
        forces = [(site.get("properties") or {}).get("forces") for site in sites]
        if any(force is None for force in forces):
            forces = None
    # 2. names; an entry outside a trajectory (-1) has no functional and step
    info: dict[str, Any] = {name: data[name] for name in _INFO if name in data}
    material, frame_id = step.material, f"{step.material}-{step.number}"
    if step.number < 0:
        material = frame_id = str(data.get("mat_id") or content["entry_id"])
    else:
        info |= {"functional": step.functional, "step": step.number}
    info["mat_id"] = material
    # 3. labels
    energy = content.get("energy")
    stress = content.get("stress", data.get("stress"))
    return FrameRecord(
        structure,
        frame_id,
        np.nan if energy is None else float(energy),
        vectors_of_atoms(forces, n_atoms),
        _as_matrix(stress),
        info,
        {"magmom": numbers_of_atoms(_magnetic_moments(content), n_atoms, "magmom")},
    )


def _magnetic_moments(content: Any) -> list[Any] | None:
    """Return the moments of the sites, None where there are none, or those are vectors."""
    properties = [site.get("properties") or {} for site in content["structure"]["sites"]]
    moments = [entry.get("magmom") for entry in properties]
    are_vectors = any(isinstance(moment, (list, dict)) for moment in moments)
    return None if are_vectors or all(moment is None for moment in moments) else moments


def _as_matrix(stress: Any) -> np.ndarray:
    """Return a stress as it stands in the file, symmetric."""
    if not stress:
        return np.full((3, 3), np.nan)
    return to_matrices([np.array(stress, dtype=np.float64)], "ase", lambda row: "stress")[0]


def _scale_stress(crystals: Crystals, labels: FrameLabels, stress: str, file: str) -> FrameLabels:
    """Convert the stress to eV/Å^3, positive in tension."""
    if not np.isfinite(labels.stress).any():
        return labels
    factor = _UNITS.get(stress.lower(), np.nan)
    if stress == "auto":
        factor = _measure_factor(crystals, labels)
        # Missing is better than a guess: a wrong sign trains the network against its forces.
        if np.isnan(factor):
            warn_user(
                f"The unit and sign of the stress in {file} cannot be told from its volumes, and "
                "Alexandria does not document them: the stress is missing (NaN). Name it with "
                "stress='vasp', 'kbar' or 'eV/A^3'.",
                DataQualityWarning,
            )
    return FrameLabels(
        labels.n_atoms,
        energy=labels.energy,
        forces=labels.forces,
        stress=labels.stress * factor,
        info=labels.info,
        atom_info=labels.atom_info,
    )


def _measure_factor(crystals: Crystals, labels: FrameLabels) -> float:
    """Return the factor by the slope of stress and volume within materials, NaN if it is open."""
    log_volume = np.log(np.abs(np.linalg.det(crystals.cell)) / labels.n_atoms)
    mean_stress = np.trace(labels.stress, axis1=1, axis2=2) / 3
    materials = labels.groups("mat_id").tolist()
    # 1. the sign: a larger cell of one material is under more tension
    sign = measure_stress_sign(log_volume, mean_stress, materials)
    if sign is None or not (sign.is_wrong or sign.is_right):
        return np.nan
    # 2. the unit: by d(stress) / d(ln V), the bulk modulus, about 1 eV/Å^3 or 1,600 kbar
    rows_of: dict[str, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(mean_stress)).tolist():
        rows_of.setdefault(materials[row], []).append(row)
    slopes = []
    for rows in rows_of.values():
        spread = log_volume[rows] - log_volume[rows].mean()
        if np.ptp(spread) > 0.01:
            slopes.append(abs(spread @ mean_stress[rows]) / (spread @ spread))
    size = 1.0 if np.median(slopes) < _LARGEST_IN_EV else -KBAR_OF_VASP
    return -size if sign.is_wrong else size
