"""Labels that cannot be in our units, because real data never are so large.

The limits lie well beyond the largest labels of real sets (forces of 236 eV/Å, stresses of
11 eV/Å^3, 13 eV per atom), since extreme frames are legitimate.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user

from ..graphs import Crystals, FrameLabels
from ._composition import reduced_formula

__all__ = ["warn_of_implausible_labels"]

_LARGEST_FORCE = 1000.0  # eV/Å, in any frame
_LARGEST_USUAL_FORCE = 100.0  # eV/Å, median over frames of their largest force
_LARGEST_STRESS = 100.0  # eV/Å^3, in any frame
_LARGEST_USUAL_STRESS = 5.0  # eV/Å^3, median over frames of their largest component
_LARGEST_MODULUS = 2000.0 / 160.21766208  # eV/Å^3; diamond has 443 GPa
_LEAST_SPREAD = 0.01  # of ln V within a material
# Stress times volume per atom over the root mean square force, in Å, median over frames. Real sets
# have 0.26 to 3.1; kbar or bar taken for eV/Å^3 change it by factors of 1,600 and more.
_LEAST_STRESS_OF_FORCES = 0.01
_FEWEST_FRAMES = 5
_LEAST_FORCE = 0.1  # eV/Å: frames nearer to equilibrium may have any small stress
_LARGEST_VOLUME = 60.0  # Å^3 per atom: in slabs and molecules, stress is diluted by vacuum
_HIGHEST_ENERGY = 100.0  # eV per atom
_LARGEST_DIFFERENCE = 50.0  # eV per atom, between frames of one composition
# An all-electron total is about -16 Z^(7/3) eV; beyond this factor no energy in eV can be.
_THOMAS_FERMI = 20.8  # eV
_MARGIN = 1.2
_RowName = Callable[[str, int], str]


def warn_of_implausible_labels(
    structures: Crystals,
    labels: FrameLabels,
    groups: list[Any],
    compositions: np.ndarray,
    name: _RowName,
) -> None:
    """Warn of labels that are too large, or related in a way, that only a wrong unit explains.

    Parameters
    ----------
    structures : Crystals
        The structures.
    labels : FrameLabels
        Their labels.
    groups : list of length n
        Material of each frame.
    compositions : ndarray of shape (n,)
        A number that frames of one reduced composition share.
    name : callable
        ``name(label, row)`` returns the key, frame and file of a label.
    """
    rows_by_composition = _rows_by_composition(labels, compositions)
    of_forces = list(_check_forces(labels, name))
    messages = [
        *of_forces,
        *_check_stress(labels, name),
        # Stress is small beside forces that are too large.
        *([] if of_forces else _check_stress_beside_forces(structures, labels, name)),
        *_check_modulus(structures, labels, groups, name),
        *_check_energy(structures, labels, name),
        *_check_difference(structures, labels, rows_by_composition, name),
        *_check_energy_per_atom(labels, rows_by_composition, name),
    ]
    reported: set[str] = set()  # one warning per label
    for label, message in messages:
        if label not in reported:
            reported.add(label)
            warn_user(
                f"{message} Is it in {_UNITS[label]}? If not, state {label}_unit= in the file or "
                f"pass units={{{label!r}: ...}}; if it is another quantity, name the right one "
                f"with {label}_key=; single bad frames are left out with filter_frames or index=.",
                DataQualityWarning,
            )


_UNITS = {"energy": "eV per cell", "forces": "eV/Å", "stress": "eV/Å^3"}


def _check_forces(labels: FrameLabels, name: _RowName) -> Iterator[tuple[str, str]]:
    lengths = np.nan_to_num(np.linalg.norm(labels.forces, axis=1))
    largest = np.maximum.reduceat(lengths, labels.offsets[:-1])
    row = int(np.argmax(largest))
    present = largest > 0
    usual = np.median(largest[present]) if present.any() else 0.0
    if largest[row] > _LARGEST_FORCE:
        yield "forces", f"{name('forces', row)} has a force of {largest[row]:.4g} eV/Å."
    elif usual > _LARGEST_USUAL_FORCE:
        yield (
            "forces",
            f"The largest force of a frame is {usual:.4g} eV/Å in the median ({largest[row]:.4g} "
            f"in {name('forces', row)}).",
        )


def _check_stress(labels: FrameLabels, name: _RowName) -> Iterator[tuple[str, str]]:
    largest = np.nan_to_num(np.abs(labels.stress).max(axis=(1, 2)))
    row = int(np.argmax(largest))
    present = largest > 0
    usual = np.median(largest[present]) if present.any() else 0.0
    if largest[row] > _LARGEST_STRESS:
        yield "stress", f"{name('stress', row)} is {largest[row]:.4g} eV/Å^3."
    elif usual > _LARGEST_USUAL_STRESS:
        yield (
            "stress",
            f"The largest component of stress of a frame is {usual:.4g} eV/Å^3 in the median "
            f"({largest[row]:.4g} in {name('stress', row)}).",
        )


def _check_stress_beside_forces(
    structures: Crystals, labels: FrameLabels, name: _RowName
) -> Iterator[tuple[str, str]]:
    """Compare stress and forces, which are derivatives of one energy and grow together."""
    squares = np.square(labels.forces).sum(axis=1)
    force = np.sqrt(np.add.reduceat(squares, labels.offsets[:-1]) / labels.n_atoms)
    volume = np.abs(np.linalg.det(structures.cell)) / labels.n_atoms
    stress = np.abs(labels.stress).max(axis=(1, 2))
    with np.errstate(invalid="ignore"):  # NaN where a label is missing
        is_far = (force > _LEAST_FORCE) & np.isfinite(stress)
    rows = np.flatnonzero(is_far & structures.pbc.all(axis=1) & (volume < _LARGEST_VOLUME))
    if len(rows) < _FEWEST_FRAMES:
        return
    lengths = stress[rows] * volume[rows] / force[rows]  # Å
    if np.median(lengths) < _LEAST_STRESS_OF_FORCES:
        row = int(rows[np.argsort(lengths)[len(rows) // 2]])
        yield (
            "stress",
            f"Stress is too small for the forces: {stress[row]:.4g} eV/Å^3 with forces of "
            f"{force[row]:.4g} eV/Å in {name('stress', row)}, and alike in {len(rows)} frames.",
        )


def _check_modulus(
    structures: Crystals, labels: FrameLabels, groups: list[Any], name: _RowName
) -> Iterator[tuple[str, str]]:
    """Compare stress and volume: their slope within a material is its bulk modulus.

    Under high pressure the modulus is about four times the pressure, so stress sets a scale.
    """
    volume_per_atom = np.abs(np.linalg.det(structures.cell)) / labels.n_atoms
    log_volume = np.log(np.maximum(volume_per_atom, 1e-300))  # no stress without a volume
    mean_stress = np.trace(labels.stress, axis1=1, axis2=2) / 3
    members: dict[Any, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(mean_stress)).tolist():
        members.setdefault(groups[row], []).append(row)
    rows_of_groups = [
        rows for rows in members.values() if np.ptp(log_volume[rows]) >= _LEAST_SPREAD
    ]
    if sum(map(len, rows_of_groups)) - len(rows_of_groups) < 3:
        return
    volume, stress = (
        np.concatenate([values[rows] - values[rows].mean() for rows in rows_of_groups])
        for values in (log_volume, mean_stress)
    )
    slope = abs(float(volume @ stress / (volume @ volume)))
    rows = np.concatenate(rows_of_groups)
    scale = float(np.median(np.abs(mean_stress[rows])))
    if slope > max(_LARGEST_MODULUS, 6 * scale):
        yield (
            "stress",
            f"Stress changes with volume as if the bulk modulus was {slope * 160.2:.4g} GPa, "
            f"such as in {name('stress', int(rows[0]))}.",
        )


def _check_energy(
    structures: Crystals, labels: FrameLabels, name: _RowName
) -> Iterator[tuple[str, str]]:
    per_atom = labels.energy / labels.n_atoms
    if not np.isfinite(per_atom).any():
        return
    row = int(np.nanargmax(per_atom))
    if per_atom[row] > _HIGHEST_ENERGY:
        yield "energy", f"{name('energy', row)} is {per_atom[row]:.4g} eV per atom."
        return
    # Only all-electron codes have energies of this size, and none a lower one.
    powers = structures.atomic_numbers.astype(float) ** (7 / 3)
    lowest = -_THOMAS_FERMI * np.add.reduceat(powers, labels.offsets[:-1]) / labels.n_atoms
    excess = per_atom / (_MARGIN * lowest)
    row = int(np.nanargmax(excess))
    if excess[row] > 1:
        yield (
            "energy",
            f"{name('energy', row)} is {per_atom[row]:.4g} eV per atom, below the total energy of "
            f"all electrons (about {lowest[row]:.4g}).",
        )


def _check_difference(
    structures: Crystals, labels: FrameLabels, rows_by_composition: list[np.ndarray], name: _RowName
) -> Iterator[tuple[str, str]]:
    """Compare energies per atom of frames of one composition."""
    per_atom = labels.energy / labels.n_atoms
    for rows in rows_by_composition:
        low, high = rows[np.argmin(per_atom[rows])], rows[np.argmax(per_atom[rows])]
        if per_atom[high] - per_atom[low] > _LARGEST_DIFFERENCE:
            atoms = slice(labels.offsets[low], labels.offsets[low + 1])
            formula = reduced_formula(structures.atomic_numbers[atoms])
            yield (
                "energy",
                f"Energies of {formula} differ by {per_atom[high] - per_atom[low]:.4g} eV per "
                f"atom ({name('energy', int(low))}; {name('energy', int(high))}).",
            )
            return


def _check_energy_per_atom(
    labels: FrameLabels, rows_by_composition: list[np.ndarray], name: _RowName
) -> Iterator[tuple[str, str]]:
    """Compare cells of one composition and different size: a total energy grows with the cell."""
    exponents, example = [], 0
    for rows in rows_by_composition:
        small, large = rows[np.argmin(labels.n_atoms[rows])], rows[np.argmax(labels.n_atoms[rows])]
        ratio = labels.n_atoms[large] / labels.n_atoms[small]
        energies = labels.energy[[small, large]]
        # E ~ n^a: a is 1 for total energies, 0 for energies per atom.
        if ratio >= 2 and np.abs(energies).min() > 0.1 and energies.prod() > 0:
            exponents.append(np.log(energies[1] / energies[0]) / np.log(ratio))
            example = int(large)
    if len(exponents) >= 3 and np.median(exponents) < 0.3:
        yield (
            "energy",
            f"Energies do not grow with the number of atoms ({len(exponents)} compositions with "
            f"cells of different size, such as {name('energy', example)}): they seem to be per "
            "atom ('eV/atom').",
        )


def _rows_by_composition(labels: FrameLabels, compositions: np.ndarray) -> list[np.ndarray]:
    """Return the rows with an energy of each composition that has several of them."""
    rows = np.flatnonzero(np.isfinite(labels.energy))
    rows = rows[np.argsort(compositions[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(compositions[rows])) + 1
    return [group for group in np.split(rows, starts) if len(group) > 1]
