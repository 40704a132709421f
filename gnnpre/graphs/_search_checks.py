"""Checks that a neighbour search over crystals is possible and bounded."""

import numpy as np

from ._crystal_arrays import crystal_of_row, name_crystal
from ._crystals import Crystals

__all__ = ["check_searchable"]

# Below this ratio of volume to the product of its lengths a cell is singular; one that is skewed
# by a thousand lattice vectors in two directions has 1e-6.
SINGULAR_CELL = 1e-10
# Atoms per Å^3; solid hydrogen at 500 GPa has about one.
LARGEST_DENSITY = 10.0
# Å^3 that a structure may span along directions that are not periodic.
LARGEST_SPAN = 1e8
MARGIN = 20.0
# Coordinates and cell vectors beyond this (Å) leave too few digits for distances.
LARGEST_COORDINATE = 1e7


def check_searchable(crystals: Crystals) -> None:
    """Check that cells are regular, not too dense, and that atoms lie within reach."""
    largest = max(crystals.positions.max(), -crystals.positions.min())
    if largest > LARGEST_COORDINATE:
        _refuse_far_atoms(crystals)
    _check_vectors(crystals)
    _check_regular(crystals)
    _check_density(crystals)
    if (2.0 * largest + MARGIN) ** 3 > LARGEST_SPAN:
        _check_spread(crystals)


def _refuse_far_atoms(crystals: Crystals) -> None:
    far = np.flatnonzero((np.abs(crystals.positions) > LARGEST_COORDINATE).any(axis=1))
    crystal, atom = crystal_of_row(far[0], crystals.n_atoms)
    raise ValueError(
        f"{name_crystal(crystal, crystals.ids)}: atom {atom} has coordinates "
        f"{crystals.positions[far[0]].tolist()} Å, beyond {LARGEST_COORDINATE:g} Å. Are they in Å? "
        "Wrap atoms that lie far outside of the cell into it."
    )


def _check_vectors(crystals: Crystals) -> None:
    periodic = np.abs(crystals.cell) * crystals.pbc[:, :, None]
    bad = np.flatnonzero((periodic > LARGEST_COORDINATE).any(axis=(1, 2)))
    if len(bad):
        raise ValueError(
            f"{name_crystal(bad[0], crystals.ids)}: its cell is {crystals.cell[bad[0]].tolist()} "
            f"Å, with vectors beyond {LARGEST_COORDINATE:g} Å. Is it in Å?"
        )


def _check_regular(crystals: Crystals) -> None:
    volume = np.abs(np.linalg.det(crystals.cell))
    lengths = np.sqrt(np.einsum("nij,nij->ni", crystals.cell, crystals.cell))
    product = lengths.prod(axis=1)
    # Of a crystal that is periodic in fewer directions these vectors alone count: the others may
    # be anything, zero too.
    for row in np.flatnonzero(~crystals.pbc.all(axis=1)).tolist():
        periodic = crystals.cell[row][crystals.pbc[row]]
        volume[row] = np.prod(np.linalg.svd(periodic, compute_uv=False))
        product[row] = np.linalg.norm(periodic, axis=1).prod()
    # Beside a vector of no length the volume is rounding error, which may exceed a product of zero.
    longest = np.where(crystals.pbc, lengths, 0.0).max(axis=1, keepdims=True)
    vanishes = (lengths <= SINGULAR_CELL * longest) & crystals.pbc
    bad = np.flatnonzero(~(volume > SINGULAR_CELL * product) | vanishes.any(axis=1))
    if len(bad):
        raise ValueError(
            f"{name_crystal(bad[0], crystals.ids)}: its cell is singular along its periodic "
            f"directions ({crystals.cell[bad[0]].tolist()} Å, pbc "
            f"{crystals.pbc[bad[0]].tolist()}); expected linearly independent vectors. Set pbc to "
            "False where it is not periodic."
        )


def _check_density(crystals: Crystals) -> None:
    volume = np.abs(np.linalg.det(crystals.cell))
    bad = np.flatnonzero(crystals.pbc.all(axis=1) & (crystals.n_atoms > LARGEST_DENSITY * volume))
    if len(bad):
        raise ValueError(
            f"{name_crystal(bad[0], crystals.ids)}: {crystals.n_atoms[bad[0]]} atoms in "
            f"{volume[bad[0]]:.3g} Å^3 is denser than {LARGEST_DENSITY:g} atoms per Å^3. Is the "
            "cell in another unit than Å?"
        )


def _check_spread(crystals: Crystals) -> None:
    starts = crystals.offsets[:-1]
    span = np.maximum.reduceat(crystals.positions, starts)
    span -= np.minimum.reduceat(crystals.positions, starts)
    # With a margin, so that a line of atoms, which has no volume, is seen too.
    wide = np.flatnonzero((span + MARGIN).prod(axis=1) > LARGEST_SPAN)
    for row in wide.tolist():
        atoms = slice(crystals.offsets[row], crystals.offsets[row + 1])
        # Atoms are wrapped along periodic directions: what counts is the span across those.
        across = _across(crystals.cell[row], crystals.pbc[row])
        extent = np.ptp(crystals.positions[atoms] @ across, axis=0)
        if np.prod(extent + MARGIN) > LARGEST_SPAN:
            raise ValueError(
                f"{name_crystal(row, crystals.ids)}: its atoms span "
                f"{' x '.join(f'{x:.3g}' for x in span[row])} Å, too far apart to search. Are the "
                "coordinates in Å? Wrap atoms that lie far outside of the cell into it."
            )


def _across(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Project on the directions across the periodic ones: (3, 3)."""
    # Rows of the last factor are orthonormal, and span the periodic directions.
    periodic = np.linalg.svd(cell[pbc], full_matrices=False)[2]
    return np.eye(3) - periodic.T @ periodic
