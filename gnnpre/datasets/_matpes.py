"""MatPES and MPtrj: JSON of pymatgen structures with labels of VASP."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._validation import check_path

from ..graphs import Crystals, FrameLabels, arrays_from_dict
from ._json_frames import FrameRecord, gather_frames, numbers_of_atoms, vectors_of_atoms
from ._json_stream import JsonItem, iterate_json
from ._label_checks import check_labels
from ._parameters import check_choice
from ._parquet_rows import KBAR_OF_VASP
from ._stress_matrix import to_matrices

__all__ = ["read_matpes", "read_mptrj"]

_MATPES_INFO = (
    *("functional", "bandgap", "formation_energy_per_atom", "cohesive_energy_per_atom"),
    "chemsys",
)
_MATPES_ATOMS = ("bader_charges", "bader_magmoms", "cm5_partial_charges")
_MPTRJ_ATOMS = ("magmom",)
_MPTRJ_ENERGIES = {
    "uncorrected": "uncorrected_total_energy",
    "corrected": "corrected_total_energy",
}
_MPTRJ_INFO = ("mp_id", "bandgap", "energy_per_atom", "ef_per_atom", "e_per_atom_relaxed")


def read_matpes(path: str | os.PathLike[str]) -> tuple[Crystals, FrameLabels]:
    """Read structures with energies, forces and stresses from a file of MatPES.

    Parameters
    ----------
    path : str or path-like
        Such as ``MatPES-PBE-2025.2.json.gz`` [1]_; it is streamed.

    Returns
    -------
    crystals : Crystals
        The structures; ``ids`` are those of ``matpes_id``.
    labels : FrameLabels
        Energies (eV per cell), forces (eV/Å) and stresses (eV/Å^3, positive in tension), NaN
        where missing. ``info`` has ``original_mp_id``, by which to split, ``functional``,
        ``bandgap``, ``formation_energy_per_atom``, ``cohesive_energy_per_atom`` and ``formula``;
        ``atom_info`` has ``bader_charges`` (e), ``bader_magmoms`` (Bohr magnetons) and
        ``cm5_partial_charges`` (e).

    Raises
    ------
    ValueError
        If the file is truncated or of another format, or a frame is invalid.

    Warns
    -----
    UserWarning
        If labels are implausible, or the stress seems to have the opposite sign.

    Notes
    -----
    Stresses in the file are in kbar, positive in compression, in the order xx, yy, zz, yz, xz, xy.

    References
    ----------
    .. [1] A. D. Kaplan et al., "A Foundational Potential Energy Surface Dataset for Materials",
       arXiv:2503.04070 (2025).

    Examples
    --------
    >>> from gnnpre.datasets import read_matpes
    >>> crystals, labels = read_matpes("MatPES-R2SCAN-2025.2.json.gz")  # doctest: +SKIP
    >>> groups = labels.groups("original_mp_id")  # doctest: +SKIP
    """
    return _read(check_path("path", path), 1, _matpes_frame, "original_mp_id")


def read_mptrj(
    path: str | os.PathLike[str], *, energy: str = "uncorrected"
) -> tuple[Crystals, FrameLabels]:
    """Read structures with energies, forces and stresses from MPtrj's JSON file.

    Parameters
    ----------
    path : str or path-like
        ``MPtrj_2022.9_full.json`` [1]_; its 1.6 million frames are streamed.
    energy : {"uncorrected", "corrected"}, default="uncorrected"
        The energy of the calculation, or that with the Materials Project's corrections.

    Returns
    -------
    crystals : Crystals
        The structures; ``ids`` are those of the frames.
    labels : FrameLabels
        Energies (eV per cell), forces (eV/Å) and stresses (eV/Å^3, positive in tension), NaN
        where missing. ``info`` has ``mp_id``, by which to split, ``bandgap``, the energies per
        atom and ``formula``; ``atom_info`` has ``magmom`` (Bohr magnetons).

    Raises
    ------
    ValueError
        If the file is truncated or of another format, or a frame is invalid.

    Warns
    -----
    UserWarning
        If labels are implausible, or the stress seems to have the opposite sign.

    Notes
    -----
    Stresses in the file are in kbar and positive in compression.

    References
    ----------
    .. [1] B. Deng et al., "CHGNet as a pretrained universal neural network potential for
       charge-informed atomistic modelling", Nat. Mach. Intell. 5, 1031 (2023).

    Examples
    --------
    >>> from gnnpre.datasets import read_mptrj
    >>> crystals, labels = read_mptrj("MPtrj_2022.9_full.json")  # doctest: +SKIP
    """
    check_choice("energy", energy, list(_MPTRJ_ENERGIES))
    column = _MPTRJ_ENERGIES[energy]
    return _read(check_path("path", path), 2, lambda item: _mptrj_frame(item, column), "mp_id")


def _read(path: Path, depth: int, convert: Any, group: str) -> tuple[Crystals, FrameLabels]:
    crystals, labels = gather_frames(iterate_json(path, depth), convert, str(path))

    ids = np.asarray(crystals.ids)

    def name(label: str, row: int) -> str:
        return f"{label!r} of frame {row} (id {ids[row]}) of {path}"

    check_labels(crystals, labels, name, labels.groups(group))
    return crystals, labels


def _matpes_frame(item: JsonItem) -> FrameRecord:
    content = item.content
    structure = arrays_from_dict(content["structure"])
    provenance = content.get("provenance") or {}
    info = {name: content.get(name) for name in _MATPES_INFO}
    info["original_mp_id"] = str(provenance.get("original_mp_id") or content["matpes_id"])
    return FrameRecord(
        structure,
        str(content["matpes_id"]),
        _energy(content["energy"]),
        vectors_of_atoms(content.get("forces"), len(structure.atomic_numbers)),
        _stress(content.get("stress")),
        info,
        _atom_info(content, _MATPES_ATOMS, len(structure.atomic_numbers)),
    )


def _mptrj_frame(item: JsonItem, energy: str) -> FrameRecord:
    content: Mapping[str, Any] = item.content
    structure = arrays_from_dict(content["structure"])
    info = {name: content.get(name) for name in _MPTRJ_INFO}
    info["mp_id"] = str(content.get("mp_id") or item.keys[0])
    return FrameRecord(
        structure,
        str(item.keys[1]),
        _energy(content[energy]),
        vectors_of_atoms(content.get("force"), len(structure.atomic_numbers)),
        _stress(content.get("stress")),
        info,
        _atom_info(content, _MPTRJ_ATOMS, len(structure.atomic_numbers)),
    )


def _atom_info(
    content: Mapping[str, Any], names: tuple[str, ...], n_atoms: int
) -> dict[str, np.ndarray]:
    return {name: numbers_of_atoms(content.get(name), n_atoms, name) for name in names}


def _energy(value: Any) -> float:
    return np.nan if value is None else float(value)


def _stress(value: Any) -> np.ndarray:
    """Return a stress of VASP (kbar, positive in compression) in eV/Å^3, positive in tension."""
    if not value:
        return np.full((3, 3), np.nan)
    numbers = np.array(value, dtype=np.float64)
    return to_matrices([numbers], "ase", lambda row: "stress")[0] * KBAR_OF_VASP
