"""Attack: absurd crystals, from lattices of nothing to atoms far out of the cell."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import cellpar_to_cell
from ase.neighborlist import neighbor_list
from pymatgen.core import Lattice, Structure

from gnnpre import EAD, StructureToGraph

from .outcomes import WrongResult
from .shared import Shared
from .values import pick

#: Edges up to which ASE counts them too.
COUNTED_EDGES, COUNTED_CUTOFF = 3000, 6.0


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Make a few crystals, most of them strange, and choose what to do with them."""
    atoms = [_atoms(rng) for _ in range(int(rng.integers(1, 4)))]
    cutoff = float(pick(rng, [3.0, 4.0, 4.0, 5.0, 0.1, 0.6, 1.0, 12.0, 30.0]))
    crystals = [_maybe_pymatgen(rng, one) for one in atoms]
    action = pick(rng, ["graphs", "graphs", "fingerprint", "predict"])
    description = f"{action}, cutoff {cutoff}, " + "; ".join(map(_describe, atoms))
    if action == "fingerprint":
        return description, lambda: EAD(cutoff=min(cutoff, 5.0), L=1).fit_transform(crystals)
    if action == "predict":
        model = shared.models[pick(rng, ["regressor", "transformer", "forces"])]
        return description, lambda: _predict(model, crystals, atoms)
    return description, lambda: _graphs(crystals, atoms, cutoff)


def _predict(model: Any, crystals: list[Any], atoms: list[Atoms]) -> Any:
    predicted = model.predict(crystals)
    if isinstance(predicted, np.ndarray):
        return predicted
    # Without a cell there is no stress: NaN is right there, and nowhere else.
    is_periodic = np.array([bool(one.pbc.all()) for one in atoms])
    return [predicted.energy, predicted.forces, predicted.stress[is_periodic]]


def _graphs(crystals: list[Any], atoms: list[Atoms], cutoff: float) -> Any:
    graphs = StructureToGraph(cutoff=cutoff).fit_transform(crystals)
    for row, one in enumerate(atoms):
        n_edges = int(graphs.n_edges[row])
        if n_edges <= COUNTED_EDGES and cutoff <= COUNTED_CUTOFF and _is_countable(one):
            expected = {len(neighbor_list("i", one, cutoff + step)) for step in (-1e-4, 0, 1e-4)}
            # Where an edge is as long as the cutoff, rounding decides.
            if not min(expected) <= n_edges <= max(expected):
                raise WrongResult(f"crystal {row} has {n_edges} edges; ASE finds {expected}")
    return graphs


def _is_countable(atoms: Atoms) -> bool:
    """Whether ASE's search takes no time: cells that are neither thin nor far away."""
    if not np.isfinite(atoms.positions).all() or np.abs(atoms.positions).max() > 1e4:
        return False
    # ASE completes cells along directions that are not periodic; only periodic crystals are plain.
    heights = np.abs(atoms.cell.volume) / (np.linalg.norm(np.cross(*atoms.cell[[1, 0]])) + 1e-9)
    return bool(atoms.pbc.all() and atoms.cell.volume > 5 and heights > 0.5) and _is_not_skewed(
        atoms
    )


def _is_not_skewed(atoms: Atoms) -> bool:
    angles = atoms.cell.angles()
    return bool((angles > 40).all() and (angles < 140).all())


def _atoms(rng: np.random.Generator) -> Atoms:
    n_atoms = int(pick(rng, [1, 1, 2, 2, 3, 5, 8, 30]))
    numbers = rng.choice([1, 6, 8, 13, 26, 29, 47, 79, 92], size=n_atoms)
    if rng.random() < 0.1:
        numbers[0] = pick(rng, [0, 100, 101, 118, 119, 200])
    cell = _cell(rng, n_atoms)
    positions = rng.random((n_atoms, 3)) @ np.nan_to_num(cell, posinf=0, neginf=0)
    pbc = pick(rng, [True, True, True, False, (True, True, False), (False, False, True)])
    return Atoms(numbers, _move(rng, positions), cell=cell, pbc=pbc)


def _cell(rng: np.random.Generator, n_atoms: int) -> np.ndarray:
    size = float(12 * n_atoms) ** (1 / 3)
    lengths = size * rng.uniform(0.8, 1.3, 3)
    cell = np.asarray(cellpar_to_cell([*lengths, *rng.uniform(60, 120, 3)]))
    change = pick(
        rng, ["good", "good", "good", "scale", "skew", "singular", "thin", "value", "zero", "left"]
    )
    row, column = rng.integers(3, size=2)
    if change == "scale":
        cell *= 10 ** rng.uniform(-2, 3)
    elif change == "skew":
        cell[1] += float(pick(rng, [3, 10, 100, 1000])) * cell[0]
    elif change == "singular":
        cell[2] = cell[0] + cell[1] + np.array([0, 0, pick(rng, [0, 1e-12, 1e-6, 1e-3, 6e-3])])
    elif change == "thin":
        cell[row] *= float(pick(rng, [1e-6, 1e-3, 0.05, 50, 1e4]))
    elif change == "value":
        cell[row, column] = pick(rng, [np.nan, np.inf, -np.inf, 1e10, 1e200, -1e6])
    elif change == "zero":
        cell[row] = 0
    elif change == "left":
        cell = cell[[1, 0, 2]]
    return cell


def _move(rng: np.random.Generator, positions: np.ndarray) -> np.ndarray:
    change = pick(rng, ["stay", "stay", "stay", "far", "one", "value", "twins", "near"])
    row, column = int(rng.integers(len(positions))), int(rng.integers(3))
    if change == "far":
        positions = positions + rng.normal(size=3) * float(pick(rng, [1e2, 1e6, 1e8, 1e12, 1e100]))
    elif change == "one":
        positions[row, column] += float(pick(rng, [1e3, -1e6, 2e9, 1e10, 1e12]))
    elif change == "value":
        positions[row, column] = pick(rng, [np.nan, np.inf, -np.inf])
    elif change == "twins":
        positions[row] = positions[0]
    elif change == "near":
        positions[row] = positions[0] + 10.0 ** rng.uniform(-9, -0.5)
    return positions


def _maybe_pymatgen(rng: np.random.Generator, atoms: Atoms) -> Any:
    if rng.random() < 0.5 or not np.isfinite(atoms.cell.array).all() or atoms.cell.rank < 3:
        return atoms
    try:
        lattice = Lattice(atoms.cell.array, pbc=tuple(map(bool, atoms.pbc)))
        return Structure(lattice, atoms.numbers, atoms.positions, coords_are_cartesian=True)
    except Exception:  # pymatgen has its own idea of what a structure is
        return atoms


def _describe(atoms: Atoms) -> str:
    return (
        f"elements {atoms.numbers.tolist()!s:.30} cell {np.round(atoms.cell.array, 4).tolist()} "
        f"pbc {atoms.pbc.tolist()} first {np.round(atoms.positions[0], 3).tolist()}"
    )
