"""Frames with energies, forces and stresses from files."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..graphs import FrameLabels
from ._composition import chemical_system, structure_from_arrays
from ._extxyz import Frame, iterate_frames
from ._label_columns import labels_from_frames
from ._stress_sign import warn_of_stress_sign

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ["filter_frames", "read_frames"]

_GPA = 1 / 160.21766208  # eV/Å^3
_LEAST_VOLUME = 1e-6  # of the product of the edges: a flatter cell is singular
_PathLike = str | os.PathLike[str]


def read_frames(
    path: _PathLike | Iterable[_PathLike],
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    stress_order: str = "ase",
    group_key: str | None = None,
    index: slice | None = None,
    format: str = "extxyz",
) -> tuple[list["Structure | Atoms"], FrameLabels]:
    """Read structures with energies, forces and stresses from extended XYZ files.

    Units are converted to eV, eV/Å and eV/Å^3 where the comment line states others
    (``energy_unit=Ha``, ``stress_unit=GPa``, ...); a unit that is unknown or contradicts another
    is refused. The sign of a stress is left as it is, and checked: a warning says so if, among
    frames of one material, larger volume does not go with more tensile stress.

    Parameters
    ----------
    path : str, path-like or iterable of them
        One or more files, gzip or not.
    energy_key, forces_key, stress_key : str, optional
        Name of the label in the comment line, the columns or the results of ASE's reader. By
        default the first of ``energy``, ``REF_energy``, ``dft_energy``, ``DFT_energy`` (so for
        the others) that any frame has; a label that no frame has is missing. A stress whose key
        contains ``virial`` is read as ``-stress * volume``, in eV.
    stress_order : {"ase", "vasp"}, default="ase"
        Order of a stress of six numbers: xx, yy, zz, yz, xz, xy, or xx, yy, zz, xy, yz, zx.
    group_key : str, optional
        Column of ``info`` that names the material of a frame, for the check of the stress. By
        default frames of one reduced formula and number of atoms are of one material.
    index : slice, optional
        Which frames of each file; all by default.
    format : str, default="extxyz"
        Another of ASE's formats, such as ``"traj"`` or ``"vasp-xml"``.

    Returns
    -------
    structures : list
        A pymatgen ``Structure`` for each frame that is periodic in three directions, its sites
        where the file puts them; ASE ``Atoms`` for the others.
    labels : FrameLabels
        Energies (eV per cell), forces (eV/Å) and stresses (eV/Å^3, positive in tension), NaN
        where missing; a stress is missing where not all directions are periodic. ``info`` has
        the scalars of the comment lines (None or NaN where missing), ``formula`` (reduced) and
        ``file``.

    Raises
    ------
    ValueError
        If a file is truncated, a frame malformed, a key in no frame, or a unit refused.
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    UserWarning
        If the sign of the stress seems to be the opposite one.

    See Also
    --------
    filter_frames : Leave out frames far from equilibrium.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gnnpre.datasets import read_frames
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "silicon.extxyz"
    >>> _ = path.write_text('''2
    ... Lattice="0 2.7 2.7 2.7 0 2.7 2.7 2.7 0" energy=-10.8 energy_unit=eV mp_id=mp-149
    ... Si 0.0 0.0 0.0
    ... Si 1.35 1.35 1.35
    ... ''')
    >>> structures, labels = read_frames(path)
    >>> structures[0].formula, labels.energy, labels.groups("mp_id")
    ('Si2', array([-10.8]), array(['mp-149'], dtype=object))
    """
    if stress_order not in {"ase", "vasp"}:
        raise ValueError(f"stress_order must be 'ase' or 'vasp'; got {stress_order!r}.")
    frames = _collect_frames(_as_paths(path), format, _check_index(index))
    structures = [_to_structure(frame) for frame in frames]
    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    labels = labels_from_frames(frames, keys, stress_order)
    _check_stress_sign(frames, labels, group_key)
    return structures, labels


def filter_frames(
    structures: Sequence["Structure | Atoms"],
    labels: FrameLabels,
    *,
    max_force: float | None = 20.0,
    max_stress: float | None = 100 * _GPA,
) -> tuple[list["Structure | Atoms"], FrameLabels]:
    """Leave out frames with a large force or stress, which dominate a fit to the others.

    Parameters
    ----------
    structures : sequence of length n
        The crystals.
    labels : FrameLabels
        Their labels; a frame is not left out for a label that is missing.
    max_force : float or None, default=20.0
        Frames are kept if the length of every force is below this, in eV/Å.
    max_stress : float or None, default=0.624
        Frames are kept if the size of every component of the stress is below this, in eV/Å^3;
        the default is 100 GPa.

    Returns
    -------
    structures : list
        The crystals that are kept.
    labels : FrameLabels
        Their labels.

    Raises
    ------
    ValueError
        If the two arguments differ in length, or a limit is not positive.

    Examples
    --------
    >>> from gnnpre.datasets import filter_frames, make_emt_frames
    >>> structures, labels = make_emt_frames(20, random_state=0)
    >>> kept, kept_labels = filter_frames(structures, labels, max_force=5.0)
    >>> len(kept) == len(kept_labels) < 20
    True
    """
    if len(structures) != len(labels):
        raise ValueError(f"There are {len(structures)} structures and {len(labels)} labels.")
    keep = np.ones(len(labels), dtype=bool)
    if max_force is not None:
        lengths = np.linalg.norm(np.nan_to_num(labels.forces), axis=1)
        large = lengths >= _check_limit("max_force", max_force, "eV/Å")
        keep[np.searchsorted(labels.offsets, np.flatnonzero(large), side="right") - 1] = False
    if max_stress is not None:
        stress = np.abs(np.nan_to_num(labels.stress)).max(axis=(1, 2), initial=0.0)
        keep &= stress < _check_limit("max_stress", max_stress, "eV/Å^3")
    return [structures[i] for i in np.flatnonzero(keep).tolist()], labels[keep]


def _check_limit(name: str, value: float, unit: str) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be a positive number of {unit}, or None; got {value!r}.")
    return value


def _check_index(index: Any) -> slice:
    if index is None or isinstance(index, slice):
        return index or slice(None)
    raise TypeError(f"index must be a slice, such as slice(0, 100), or None; got {index!r}.")


def _as_paths(path: Any) -> list[Path]:
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not paths:
        raise ValueError("path is an empty list; give at least one file.")
    return [Path(item) for item in paths]


def _collect_frames(paths: list[Path], file_format: str, index: slice) -> list[Frame]:
    frames = [frame for path in paths for frame in iterate_frames(path, file_format, index)]
    if not frames:
        names = ", ".join(str(path) for path in paths)
        raise ValueError(f"There are no frames in {names} (index={index}).")
    return frames


def _to_structure(frame: Frame) -> "Structure | Atoms":
    atoms = frame.atoms
    if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
        raise ValueError(f"A position or cell vector of {frame.where} is not finite; leave it out.")
    if (atoms.numbers < 1).any():
        raise ValueError(f"{frame.where} has an atom of no element (X); leave the frame out.")
    if not atoms.pbc.all():
        bare = atoms.copy()
        bare.info = {}
        return bare
    edges = np.linalg.norm(atoms.cell.array, axis=1)
    if abs(np.linalg.det(atoms.cell.array)) <= _LEAST_VOLUME * np.prod(edges):
        raise ValueError(
            f"The cell of {frame.where} is singular: {atoms.cell.array.tolist()}. State pbc= in "
            "the file for directions that are not periodic."
        )
    return structure_from_arrays(atoms.numbers, atoms.positions, atoms.cell.array)


def _check_stress_sign(frames: Sequence[Frame], labels: FrameLabels, group_key: str | None) -> None:
    groups = _materials(labels) if group_key is None else labels.groups(group_key).tolist()
    volume = np.array([abs(np.linalg.det(frame.atoms.cell.array)) for frame in frames])
    periodic = np.array([frame.atoms.pbc.all() for frame in frames])
    log_volume = np.log(np.where(periodic, volume / labels.n_atoms, np.nan))
    mean_stress = np.trace(labels.stress, axis1=1, axis2=2) / 3
    elements = [chemical_system(frame.atoms.numbers) for frame in frames]
    warn_of_stress_sign(log_volume, mean_stress, groups, elements)


def _materials(labels: FrameLabels) -> list[tuple[str, int]]:
    return list(zip(labels.groups("formula"), labels.n_atoms.tolist(), strict=True))
