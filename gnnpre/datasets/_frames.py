"""Frames with energies, forces and stresses from files."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user

from ..graphs import Crystals, FrameLabels, check_occupancy
from ._ase_files import iterate_ase
from ._extxyz import iterate_extxyz
from ._file_formats import detect_format, other_reader
from ._frame_blocks import FrameBlock
from ._free_text import warn_of_energies_in_text
from ._label_checks import check_labels
from ._label_columns import LabelledBlock, labels_from_blocks
from ._parameters import check_choice, check_name, check_names, check_paths
from ._units import unit_factor
from ._vasp_convergence import CONVERGED

__all__ = ["read_frames"]

_LEAST_VOLUME = 1e-6  # of the product of the edges: a flatter cell is singular
_PathLike = str | os.PathLike[str]
_Key = str | Sequence[str] | None


def read_frames(
    path: _PathLike | Iterable[_PathLike],
    *,
    energy_key: _Key = None,
    forces_key: _Key = None,
    stress_key: _Key = None,
    stress_order: str = "ase",
    units: Mapping[str, str] | None = None,
    group_key: str | None = None,
    index: slice | None = None,
    format: str | None = None,
) -> tuple[Crystals, FrameLabels]:
    """Read structures with energies, forces and stresses from extended XYZ and other files.

    Units are converted to eV, Å, eV/Å and eV/Å^3 where the comment line states others
    (``energy_unit=Ha``, ``stress-unit=GPa``, ``length_unit=bohr``, ... in any spelling); a unit
    that is not understood or contradicts another is an error. The sign of a stress is left as it
    is, and checked: a warning says so if, among frames of one material, larger volume does not
    go with more tensile stress.

    Parameters
    ----------
    path : str, path-like or iterable of them
        One or more files, compressed (gzip, bzip2, xz) or not.
    energy_key, forces_key, stress_key : str or list of str, optional
        Name of the label in the comment line, the columns or the results of ASE's reader; of a
        list, the first that a frame has. By default the one of ``energy``, ``REF_energy``,
        ``dft_energy`` (and so for the others) that most frames have, in any case; if no frame
        has one of them, ``free_energy``, ``total_energy`` or ``potential_energy``, and for the
        stress a virial. A label that no frame has is missing. A stress whose key contains
        ``virial`` is read as ``-stress * volume``, in eV.
    stress_order : {"ase", "vasp"}, default="ase"
        Order of a stress of six numbers: xx, yy, zz, yz, xz, xy, or xx, yy, zz, xy, yz, zx.
    units : dict, optional
        Units of ``"energy"``, ``"forces"``, ``"stress"``, ``"virial"`` and ``"length"`` in files
        that do not state them, such as ``{"stress": "GPa"}``.
    group_key : str, optional
        Column of ``info`` that names the material of a frame, for the check of the stress. By
        default frames of one reduced formula and number of atoms are of one material.
    index : slice, optional
        Which frames of each file; all by default.
    format : str, optional
        ``"extxyz"`` or another of ASE's formats, such as ``"traj"`` or ``"vasp-xml"``. By default
        it is recognised by the first bytes and the name of each file.

    Returns
    -------
    structures : Crystals
        The structures, their atoms where the file puts them.
    labels : FrameLabels
        Energies (eV per cell), forces (eV/Å) and stresses (eV/Å^3, positive in tension), NaN
        where missing; a stress is missing where not all directions are periodic. ``info`` has
        the scalars of the comment lines (None or NaN where missing), ``formula`` (reduced),
        ``file`` and, for VASP's output, ``electronic_converged``; ``atom_info`` the columns of
        one number per atom, such as magnetic moments (NaN where missing or infinite).

    Raises
    ------
    ValueError
        If a file is truncated, a frame malformed, a key in no frame, a unit not understood, or a
        file is of a format that another function reads (the message names it).
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    UserWarning
        If frames have a label under different names, so that some are not read; if labels are
        too large to be in our units; if the sign of the stress seems to be the opposite one; or
        if the electrons of an ionic step of VASP have not converged.

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
    ('Si2', array([-10.8]), array(['mp-149'], dtype='<U6'))
    """
    # 1. parameters
    check_choice("stress_order", stress_order, ("ase", "vasp"))
    check_name("format", format)
    check_name("group_key", group_key)
    default_units = _check_units(units)
    paths, frame_slice = check_paths("path", path), _check_index(index)
    # 2. frames
    blocks = [block for item in paths for block in _iterate_blocks(item, format, frame_slice)]
    if not blocks:
        names = ", ".join(str(item) for item in paths)
        raise ValueError(f"There are no frames in {names} (index={index}).")
    for block in blocks:
        _check_geometry(block)
    _warn_of_unnamed_columns(blocks)
    _warn_of_unconverged(blocks)
    warn_of_energies_in_text(blocks)
    # 3. labels and crystals, in our units
    keys = {
        "energy": check_names("energy_key", energy_key),
        "forces": check_names("forces_key", forces_key),
        "stress": check_names("stress_key", stress_key),
    }
    labelled, labels = labels_from_blocks(blocks, keys, stress_order, default_units)
    structures = _to_crystals(blocks, labelled)
    # 4. checks of the labels
    groups = None if group_key is None else labels.groups(group_key)
    check_labels(structures, labels, _row_names(blocks, labelled), groups)
    return structures, labels


def _iterate_blocks(path: Path, file_format: str | None, index: slice) -> Iterator[FrameBlock]:
    if file_format is None:
        file_format = detect_format(path)
        reader = other_reader(file_format)
        if reader is not None:
            raise ValueError(f"{path} is {reader}.")
    if file_format == "extxyz":
        return iterate_extxyz(path, index)
    return iterate_ase(path, file_format, index)


def _check_units(units: Any) -> Mapping[str, str]:
    quantities = ("energy", "forces", "stress", "virial", "length")
    units = {} if units is None else units
    if not isinstance(units, Mapping) or not set(units) <= set(quantities):
        raise ValueError(f"units must be a dict with keys of {quantities}; got {units!r}.")
    for quantity, unit in units.items():
        try:
            unit_factor(unit, quantity)
        except (ValueError, TypeError) as error:
            raise ValueError(f"units[{quantity!r}]: {error}.") from error
    return units


def _check_index(index: Any) -> slice:
    if index is None or isinstance(index, slice):
        return index or slice(None)
    raise TypeError(f"index must be a slice, such as slice(0, 100), or None; got {index!r}.")


def _to_crystals(blocks: Sequence[FrameBlock], labelled: Sequence[LabelledBlock]) -> Crystals:
    return Crystals(
        atomic_numbers=np.concatenate([block.atomic_numbers for block in blocks]),
        positions=np.concatenate([block.positions for block in labelled]),
        cell=np.concatenate([block.cells for block in labelled]),
        n_atoms=np.concatenate([block.n_atoms for block in blocks]),
        pbc=np.concatenate([block.pbc for block in blocks]),
    )


def _check_geometry(block: FrameBlock) -> None:
    """Check that positions and cells are finite, atoms are elements, and no cell is flat."""
    # 1. atoms; those of disordered CIF files are marked by ASE, also in files that it writes
    for row, entries in enumerate(block.entries):
        if "occupancy" in entries:
            check_occupancy(entries["occupancy"], block.where(row))
    finite = np.isfinite(block.positions).all(axis=1)
    atom_is_bad = ~finite | (block.atomic_numbers < 1)
    if atom_is_bad.any():
        atom = int(np.argmax(atom_is_bad))
        where = block.where(int(np.searchsorted(block.offsets, atom, side="right")) - 1)
        if not finite[atom]:
            raise ValueError(f"A position or cell vector of {where} is not finite; leave it out.")
        raise ValueError(f"{where} has an atom of no element (X); leave the frame out.")
    # 2. cells; a flat one is allowed where a direction is not periodic
    with np.errstate(invalid="ignore"):
        edges = np.linalg.norm(block.cells, axis=2).prod(axis=1)
        is_flat = ~(np.abs(np.linalg.det(block.cells)) > _LEAST_VOLUME * edges)
    cell_is_finite = np.isfinite(block.cells).all(axis=(1, 2))
    bad = np.flatnonzero(~cell_is_finite | (is_flat & block.pbc.all(axis=1)))
    if bad.size:
        row = int(bad[0])
        if not cell_is_finite[row]:
            raise ValueError(
                f"A position or cell vector of {block.where(row)} is not finite; leave it out."
            )
        raise ValueError(
            f"The cell of {block.where(row)} is singular: {block.cells[row].tolist()}. State pbc= "
            "in the file for directions that are not periodic."
        )


def _warn_of_unnamed_columns(blocks: Sequence[FrameBlock]) -> None:
    unnamed = [block for block in blocks if block.has_unnamed_columns]
    if unnamed:
        warn_user(
            f"{sum(map(len, unnamed))} frames of {unnamed[0].file} have columns behind the "
            "positions that the file does not name, and that were not read. If they are forces, "
            "state Properties=species:S:1:pos:R:3:forces:R:3 in the comment lines.",
            DataQualityWarning,
        )


def _warn_of_unconverged(blocks: Sequence[FrameBlock]) -> None:
    names = [
        block.where(row)
        for block in blocks
        for row, entries in enumerate(block.entries)
        if entries.get(CONVERGED) is False
    ]
    if names:
        warn_user(
            f"The electrons of {len(names)} of {sum(map(len, blocks))} frames have not converged "
            f"in the NELM steps that VASP had ({names[0]} first): their labels are wrong. Leave "
            f"them out: rows = labels.info[{CONVERGED!r}] != False; structures[rows], "
            "labels[rows].",
            DataQualityWarning,
        )


def _row_names(
    blocks: Sequence[FrameBlock], labelled: Sequence[LabelledBlock]
) -> Callable[[str, int], str]:
    """Return a function that names a label of a row by its key, frame and file."""
    starts = np.cumsum([0, *map(len, blocks)])

    def name(label: str, row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        row_in_block = row - int(starts[number])
        key = labelled[number].keys[label][row_in_block]
        return f"{key!r} of {blocks[number].where(row_in_block)}"

    return name
