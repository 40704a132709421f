"""Undistorted cells of alloys: lattices, occupations, and which data set they belong to."""

import hashlib
from collections.abc import Callable
from itertools import product
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["belongs_to_frames", "distort", "draw_crystal", "fcc_metal"]

METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
_MAX_ELEMENTS = 4  # of one random alloy
_MAX_DRAWS = 5000  # in search of one more composition

# Bravais cell (rows) and fractional sites, in units of the fcc lattice constant of the same
# volume per atom, a^3 / 4.
_FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
_BCC = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]) * 0.5 ** (1 / 3)
_HCP = np.array([[1.0, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, (8 / 3) ** 0.5]]) * 0.5**0.5
_TETRAGONAL = np.array([[0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
_CUBIC_SITES = np.array([[0.0, 0, 0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
_ORIGIN = np.zeros((1, 3))
_Lattice = tuple[str, np.ndarray, np.ndarray, tuple[int, ...] | None]
# Name, cell, sites, and which of two elements sits where (None: any element anywhere).
_LATTICES: tuple[_Lattice, ...] = (
    ("fcc", _FCC, _ORIGIN, None),
    ("fcc", np.eye(3), _CUBIC_SITES, None),
    ("bcc", _BCC, _ORIGIN, None),
    ("bcc", np.eye(3) * 0.5 ** (1 / 3), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), None),
    ("hcp", _HCP, np.array([[0.0, 0, 0], [2 / 3, 1 / 3, 0.5]]), None),
    ("L1_2", np.eye(3), _CUBIC_SITES, (0, 1, 1, 1)),
    ("L1_0", _TETRAGONAL, np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), (0, 1)),
)


def belongs_to_frames(numbers: np.ndarray) -> bool:
    """Assign each reduced composition to the frames (True) or to the property, for good."""
    elements, counts = np.unique(numbers, return_counts=True)
    if len(elements) == 1:
        return True
    divisor = gcd(*counts.tolist())
    name = "".join(f"{z}:{n // divisor} " for z, n in zip(elements, counts, strict=True))
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


def draw_crystal(
    rng: np.random.RandomState, max_atoms: int, accept: Callable[[np.ndarray], bool]
) -> tuple[str, "Atoms"]:
    """Draw undistorted cells until one has an accepted composition."""
    from ase.data import atomic_numbers

    # Rejection: few cells of max_atoms have a composition that was drawn before.
    metals = np.array([atomic_numbers[metal] for metal in METALS])
    for _ in range(_MAX_DRAWS):
        name, cell, sites, order = _LATTICES[rng.randint(len(_LATTICES))]
        repeats = _draw_repeats(rng, max_atoms // len(sites))
        if order is None:
            palette = rng.choice(metals, rng.randint(1, _MAX_ELEMENTS + 1), replace=False)
            numbers = rng.choice(palette, len(sites) * np.prod(repeats))
        else:
            numbers = np.tile(rng.choice(metals, 2, replace=False)[list(order)], np.prod(repeats))
        if accept(numbers):
            return name, _build(numbers, cell, sites, repeats)
    raise ValueError(
        f"Cells of at most max_atoms={max_atoms} atoms have no further composition; ask for fewer "
        "structures or raise max_atoms."
    )


def _draw_repeats(rng: np.random.RandomState, most: int) -> tuple[int, ...]:
    choices = [r for r in product((1, 2, 3), repeat=3) if np.prod(r) <= most]
    return choices[rng.randint(len(choices))]


def _build(
    numbers: np.ndarray, cell: np.ndarray, sites: np.ndarray, repeats: tuple[int, ...]
) -> "Atoms":
    """Repeat the lattice, occupy its sites and scale it to Vegard's law."""
    from ase import Atoms
    from ase.data import reference_states

    lattice_constant = np.mean([reference_states[z]["a"] for z in numbers])  # all seven are fcc
    atoms = Atoms(f"X{len(sites)}", scaled_positions=sites, cell=cell * lattice_constant, pbc=True)
    atoms = atoms.repeat(repeats)
    atoms.numbers[:] = numbers
    return atoms


def distort(rng: np.random.RandomState, atoms: "Atoms", strain: float, rattle: float) -> None:
    """Strain the cell, then displace the atoms, in place."""
    noise = rng.normal(scale=strain, size=(3, 3))
    isotropic = rng.uniform(-2.5 * strain, 2.5 * strain)
    deformation = (1 + isotropic) * np.eye(3) + (noise + noise.T) / 2
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    atoms.positions += rng.normal(scale=rattle, size=(len(atoms), 3))


def fcc_metal(atomic_number: int) -> "Atoms":
    """Build the primitive cell of a metal."""
    return _build(np.array([atomic_number]), _FCC, _ORIGIN, (1, 1, 1))
