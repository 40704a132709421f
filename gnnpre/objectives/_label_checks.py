"""Check signs and units of a training set: codes differ in those of forces and stresses.

Between two frames of the same atoms the energy changes by the work of the forces and of the
stress,

    E2 - E1 = -(F1 + F2) / 2 . (r2 - r1) + (V1 stress1 + V2 stress2) / 2 : strain + O(step^3),

so that labels with the wrong sign or unit are found wherever frames come from a trajectory.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.graphs import CrystalGraphs, Crystals

from ._lazy_targets import iterate_chunks
from ._references import element_counts, size_dependence
from ._scaling import root_mean_square
from ._targets import Targets

if TYPE_CHECKING:
    from ._force_field import ForceField

__all__ = ["warn_of_implausible_labels", "warn_of_size_dependence"]

# Frames looked at for an offset: enough to tell one, few enough to cost little memory.
N_CHECKED = 50_000
# Steps between frames for which the work, exact to second order, is exact enough.
LARGEST_STEP = 0.3  # Å
LARGEST_STRAIN = 0.05
# Pairs of frames, and how closely their ratios must agree, before a warning.
FEWEST_PAIRS = 8
LARGEST_SPREAD = 0.3
PLAUSIBLE_RATIOS = (0.6, 1.7)
# Sizes beyond all materials: forces in eV/Å, stresses in eV/Å^3 (1 is 160 GPa).
LARGEST_FORCE = 200.0
LARGEST_STRESS = 1.0
# An offset per cell is worth a warning where it explains nearly all that elements do not.
EXPLAINED_BY_OFFSET = 0.99
LEAST_OFFSET = 10.0  # eV, more than a composition of few elements may explain by chance


def warn_of_implausible_labels(
    graphs: CrystalGraphs, targets: Targets, train: np.ndarray, config: "ForceField"
) -> None:
    """Warn of signs, units and offsets of labels that cannot be right."""
    # 1. sizes of single labels, of some frames
    crystals, targets = next(iterate_chunks(graphs.to_crystals(), targets, train))
    rows = np.arange(len(crystals))
    labels = {name: values.cpu().numpy() for name, values in targets.crystal.items()}
    forces, offsets = targets.atom["forces"].cpu().numpy(), crystals.offsets
    if config.forces:
        _warn_of_large_forces(forces, offsets, rows)
    if config.stress:
        _warn_of_large_stress(labels["stress"][rows])
    # 2. labels against each other, along steps between frames of the same atoms
    steps = list(_steps(crystals, labels, forces, offsets, rows))
    if config.forces:
        _warn_of_work([s for s in steps if abs(s.by_stress) < 0.1 * abs(s.by_forces)], "forces")
    if config.stress:
        in_stress = [s for s in steps if abs(s.by_forces) < 0.1 * abs(s.by_stress)]
        if len(in_stress) >= FEWEST_PAIRS:
            _warn_of_work(in_stress, "stress")
        else:
            _warn_of_stress_sign(crystals, labels["stress"], rows)


class Step(NamedTuple):
    """From one frame to the next of the same atoms: change of the energy, and work, in eV."""

    change: float
    by_forces: float
    by_stress: float


def _steps(
    crystals: Crystals,
    labels: dict[str, np.ndarray],
    forces: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
) -> Iterator[Step]:
    """Yield small steps between successive frames with the same atoms in the same order."""
    numbers, positions = crystals.atomic_numbers, crystals.positions
    cells, pbc = crystals.cell, np.asarray(crystals.pbc.all(axis=1))
    previous: dict[bytes, int] = {}
    for row in rows.tolist():
        # 1. the last frame with the same atoms in the same order
        atoms = slice(offsets[row], offsets[row + 1])
        if not np.isfinite(labels["energy"][row]) or not np.isfinite(forces[atoms]).all():
            continue
        key = numbers[atoms].tobytes()
        last = previous.get(key)
        previous[key] = row
        if last is None or not (pbc[row] and pbc[last]):
            continue
        # 2. how atoms and cell moved since
        before = slice(offsets[last], offsets[last + 1])
        moved = _moves(cells[last], cells[row], positions[before], positions[atoms])
        if moved is None:
            continue
        displacements, strain = moved
        # 3. the work on this way, by the mean of both ends
        work = _work_of_stress(labels["stress"], cells, last, row, strain)
        if np.isfinite(work):
            by_forces = -0.5 * float(((forces[before] + forces[atoms]) * displacements).sum())
            change = float(labels["energy"][row] - labels["energy"][last])
            yield Step(change, by_forces, work)


def _moves(
    cell: np.ndarray, next_cell: np.ndarray, positions: np.ndarray, next_positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return displacements (N, 3) in Å and strain (3, 3) between frames; None where large."""
    inverse = np.linalg.inv(cell)
    strain = inverse @ next_cell - np.eye(3)
    if np.abs(strain).max() > LARGEST_STRAIN:
        return None
    fractions = next_positions @ np.linalg.inv(next_cell) - positions @ inverse
    fractions -= np.round(fractions)  # the nearest images
    displacements = fractions @ (0.5 * (cell + next_cell))
    if np.abs(displacements).max() > LARGEST_STEP:
        return None
    return displacements, strain


def _work_of_stress(
    stress: np.ndarray, cells: np.ndarray, last: int, row: int, strain: np.ndarray
) -> float:
    """Return the work of the stress in eV: 0 for equal cells, NaN where the stress is missing."""
    if np.abs(strain).max() < 1e-7:
        return 0.0
    volumes = np.abs(np.linalg.det(cells[[last, row]]))
    virials = volumes[:, None, None] * stress[[last, row]]
    return 0.5 * float((virials.sum(axis=0) * strain).sum())


def _warn_of_work(steps: list[Step], name: str) -> None:
    """Warn where changes of the energy are another multiple of the work than about 1."""
    work = np.array([getattr(step, f"by_{name}") for step in steps])
    change = np.array([step.change for step in steps])
    # Small steps say little: numerical noise of the energy is as large.
    large = np.abs(work) >= np.median(np.abs(work)) if len(work) else np.empty(0, dtype=bool)
    large &= work != 0
    if large.sum() < FEWEST_PAIRS:
        return
    ratios = change[large] / work[large]
    low, ratio, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    if high - low > LARGEST_SPREAD * abs(ratio):
        return
    if not PLAUSIBLE_RATIOS[0] < ratio < PLAUSIBLE_RATIOS[1]:
        low, high = PLAUSIBLE_RATIOS
        suspects = {"the sign": ratio < 0, "the unit": not low < abs(ratio) < high}
        cause = " and ".join(name for name, suspected in suspects.items() if suspected)
        warn_user(
            f"y.{name} and y.energy do not belong together: between {large.sum()} pairs of frames "
            f"of the same atoms, the energy changes by {ratio:.4g} times the work of the {name} "
            f"(expected 1). Check {cause} of {name} and energy: gnnpre takes energies in eV per "
            "cell, forces in eV/Å, and stress in eV/Å^3, positive in tension (dE/dstrain / "
            f"volume). Convert them, and pass FrameLabels(..., {name}=converted) as y.",
            DataQualityWarning,
        )


def _warn_of_stress_sign(crystals: Crystals, stress: np.ndarray, rows: np.ndarray) -> None:
    """Warn where larger cells of one composition are under more compression."""
    from gnnpre.datasets import warn_of_stress_sign

    periodic = np.asarray(crystals.pbc.all(axis=1))
    # Slabs and molecules have a volume only in name.
    rows = rows[periodic[rows] & np.isfinite(stress[rows]).all(axis=(1, 2))]
    if len(rows) < FEWEST_PAIRS:
        return
    subset = crystals[rows]
    volumes = np.abs(np.linalg.det(subset.cell))
    counts = element_counts(subset, 118).toarray().astype(np.int64)
    # Reduced formulas: a supercell is of the composition of its cell.
    divisors = np.gcd.reduce(counts, axis=1)[:, None]
    warn_of_stress_sign(
        np.log(volumes / subset.n_atoms),
        np.trace(stress[rows], axis1=1, axis2=2) / 3,
        [formula.tobytes() for formula in counts // divisors],
        [elements.tobytes() for elements in counts > 0],
    )


def _warn_of_large_forces(forces: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> None:
    blocks = [forces[offsets[row] : offsets[row + 1]] for row in rows.tolist()]
    values = np.concatenate(blocks) if blocks else np.empty((0, 3))
    values = values[np.isfinite(values)]
    size = float(root_mean_square(values))
    if size > LARGEST_FORCE:
        warn_user(
            f"y.forces have a root mean square of {size:.4g}, far above forces between bound atoms "
            "in eV/Å. Check the unit, and leave out frames that blew up (filter_frames).",
            DataQualityWarning,
        )


def _warn_of_large_stress(stress: np.ndarray) -> None:
    # Components off the diagonal may vanish by symmetry; a pressure seldom does.
    pressures = np.abs(np.trace(stress, axis1=1, axis2=2)) / 3
    pressures = pressures[np.isfinite(pressures)]
    size = float(np.median(pressures)) if len(pressures) else 0.0
    if size > LARGEST_STRESS:
        warn_user(
            f"y.stress has a median pressure of {size:.4g}; in eV/Å^3 that is {160.2 * size:.4g} "
            "GPa. Divide by 160.22 if it is in GPa, by 1602.2 if in kbar, or by the volume if it "
            "is a virial.",
            DataQualityWarning,
        )


def warn_of_size_dependence(counts: Any, energy: np.ndarray) -> None:
    """Warn where energies do not add up over atoms: those per atom, or with an offset per cell.

    Parameters
    ----------
    counts : scipy.sparse.csr_array of shape (n, n_elements)
        Atoms of each element.
    energy : ndarray of shape (n,)
        Energies of the cells in eV.
    """
    counts, energy = counts[:N_CHECKED], energy[:N_CHECKED]
    if len(np.unique(counts.sum(axis=1))) < 2:
        return
    counts = counts[:, np.unique(counts.indices)]
    if len(energy) < 2 * counts.shape[1] + 2:  # too few to tell an offset from anything else
        return
    fit = size_dependence(counts, energy)
    has_offset = fit.by_offset > EXPLAINED_BY_OFFSET and abs(fit.offset) > LEAST_OFFSET
    # Energies of one composition look the same per atom and as an offset.
    if fit.by_averages < 0.9 or (fit.by_averages < 1.5 and not has_offset):
        warn_user(
            "y.energy seems to be in eV per atom: it does not grow with the number of atoms, and "
            "energies of elements explain it as averages, not as sums. gnnpre takes eV per cell: "
            "FrameLabels(energy=energy * n_atoms, ...).",
            DataQualityWarning,
        )
    elif has_offset:
        warn_user(
            f"y.energy has an offset of {fit.offset:.6g} eV per cell, whatever the number of "
            "atoms: no energies of elements explain it, and a force field cannot learn it. "
            f"Subtract it: FrameLabels(energy=energy - ({fit.offset:.6g}), ...). If these are "
            "energies per atom, multiply them by the numbers of atoms.",
            DataQualityWarning,
        )
