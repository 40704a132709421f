"""Frames of the formats that ASE reads: trajectories, databases, outputs of codes."""

from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._file_formats import unpacked
from ._frame_blocks import FrameBlock
from ._lammps_files import check_lammps_elements, is_lammps
from ._vasp_convergence import CONVERGED, electronic_convergence

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["iterate_ase"]

_BLOCK_FRAMES = 1024
_DATABASES = {"db", "json"}
_VASP = {"vasp-xml", "vasp-out"}


def iterate_ase(path: Path, file_format: str, index: slice) -> Iterator[FrameBlock]:
    """Read the frames of a file with ASE.

    Parameters
    ----------
    path : Path
        The file, compressed or not.
    file_format : str
        Name of the format in ASE.
    index : slice
        Which frames.

    Yields
    ------
    FrameBlock
        Consecutive frames with the same columns.

    Raises
    ------
    ValueError
        If ASE cannot read the file.
    """
    try:
        with unpacked(path) as plain:
            read = _read_database if file_format in _DATABASES else _read_frames
            frames = list(read(plain, file_format))
    except Exception as error:  # readers of some eighty formats raise anything
        if isinstance(error, FileNotFoundError) and not path.exists():
            raise
        raise ValueError(f"{path} cannot be read with format={file_format!r}: {error}") from error
    numbered = iter([(number, frames[number]) for number in range(len(frames))[index]])
    while block := list(islice(numbered, _BLOCK_FRAMES)):
        for names, group in groupby(block, key=lambda item: _column_names(item[1][0])):
            yield _build_block(list(group), names, str(path))


def _read_frames(path: Path, file_format: str) -> "Iterator[tuple[Atoms, dict[str, Any]]]":
    from ase.io import iread

    if is_lammps(file_format):
        check_lammps_elements(path, file_format)
    converged = electronic_convergence(path, file_format) if file_format in _VASP else []
    for step, atoms in enumerate(iread(path, index=":", format=file_format)):
        if is_lammps(file_format) and atoms.calc is not None:
            # Dumps have no energy; ASE writes 0 beside the forces.
            atoms.calc.results.pop("energy", None)
        info = dict(atoms.info)
        if step < len(converged):
            info[CONVERGED] = converged[step]
        yield atoms, info


def _read_database(path: Path, file_format: str) -> "Iterator[tuple[Atoms, dict[str, Any]]]":
    """Read the rows of a database with their key-value pairs, which `ase.io.read` leaves out."""
    from ase.db import connect

    with connect(path, type=file_format, serial=True) as database:
        for row in database.select():
            yield row.toatoms(), {"unique_id": row.unique_id, **row.key_value_pairs}


def _column_names(atoms: "Atoms") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns of three numbers and of one number per atom."""
    return tuple(_columns(atoms)), tuple(_columns(atoms, ()))


def _columns(atoms: "Atoms", shape: tuple[int, ...] = (3,)) -> dict[str, np.ndarray]:
    """Return the per-atom values of a shape, three numbers by default, but for positions.

    Of single numbers only floats are returned: tags are whole numbers.
    """
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = {name: value for name, value in atoms.arrays.items() if name != "positions"}
    columns = {}
    for name, value in {**arrays, **results}.items():
        letters = "iuf" if shape else "f"
        if np.shape(value) == (len(atoms), *shape) and np.asarray(value).dtype.kind in letters:
            columns[name] = np.ma.filled(np.ma.asarray(value, dtype=np.float64), np.nan)
    return columns


def _entries(atoms: "Atoms", info: dict[str, Any]) -> dict[str, Any]:
    """Return info and results of a calculator; its stress of six as matrix, in ASE's order."""
    from ase.stress import voigt_6_to_full_3x3_stress

    results = {} if atoms.calc is None else dict(atoms.calc.results)
    if "stress" in results and np.shape(results["stress"]) == (6,):
        results["stress"] = voigt_6_to_full_3x3_stress(results["stress"])
    columns = _columns(atoms)
    entries = {**info, **results}
    return {name: value for name, value in entries.items() if name not in columns}


def _build_block(
    frames: "list[tuple[int, tuple[Atoms, dict[str, Any]]]]",
    names: tuple[tuple[str, ...], tuple[str, ...]],
    file: str,
) -> FrameBlock:
    all_atoms = [atoms for _, (atoms, _) in frames]
    columns = [_columns(atoms) for atoms in all_atoms]
    # With () for the further axes: columns of one number for each atom.
    numbers = [_columns(atoms, ()) for atoms in all_atoms]
    return FrameBlock(
        file=file,
        frame_numbers=[number for number, _ in frames],
        n_atoms=np.array([len(atoms) for atoms in all_atoms]),
        atomic_numbers=np.concatenate([atoms.numbers for atoms in all_atoms]),
        positions=np.concatenate([atoms.positions for atoms in all_atoms]),
        cells=np.array([atoms.cell.array for atoms in all_atoms]),
        pbc=np.array([atoms.pbc for atoms in all_atoms]),
        entries=[_entries(atoms, info) for _, (atoms, info) in frames],
        columns={name: np.concatenate([c[name] for c in columns]) for name in names[0]},
        atom_columns={name: np.concatenate([c[name] for c in numbers]) for name in names[1]},
    )
