"""Checks that a neighbour search over crystals is possible and bounded."""

import numpy as np

from ._crystal_arrays import name_crystal
from ._crystals import Crystals

__all__ = ["check_searchable"]

# Below this ratio of volume to the product of the edge lengths a cell counts as singular.
SINGULAR_CELL = 1e-6
# Atoms per Å^3; solid hydrogen at 500 GPa has about one.
LARGEST_DENSITY = 10.0
# Å^3 that a structure may span: the search lays out images and bins over all of it.
LARGEST_SPAN = 1e8


def check_searchable(crystals: Crystals) -> None:
    """Check that cells are regular, not too dense, and that atoms lie within reach."""
    _check_regular(crystals)
    _check_density(crystals)
    _check_spread(crystals)


def _check_regular(crystals: Crystals) -> None:
    # A Gram determinant over the periodic rows alone: the others may be anything, zero too.
    periodic = crystals.pbc[:, :, None] * crystals.cell
    gram = periodic @ periodic.transpose(0, 2, 1)
    gram += np.eye(3) * ~crystals.pbc[:, :, None]
    lengths = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), 0.0))
    volume = np.sqrt(np.maximum(np.linalg.det(gram), 0.0))
    bad = np.flatnonzero(~(volume > SINGULAR_CELL * lengths.prod(axis=1)))
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
    bad = np.flatnonzero((span + 20.0).prod(axis=1) > LARGEST_SPAN)
    if len(bad):
        raise ValueError(
            f"{name_crystal(bad[0], crystals.ids)}: its atoms span "
            f"{' x '.join(f'{x:.3g}' for x in span[bad[0]])} Å, too far apart to search. Are the "
            "coordinates in Å? Wrap atoms that lie far outside of the cell into it."
        )
