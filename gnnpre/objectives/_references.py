"""Reference energies of elements, fitted to the energies of crystals."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from gnnpre.graphs import Crystals

__all__ = [
    "REFERENCES",
    "SizeDependence",
    "element_counts",
    "fit_reference_energies",
    "size_dependence",
]

#: Both name the least-squares solution: the limit of a ridge whose penalty vanishes is the solution
#: of minimum norm. A finite penalty would shrink large energies by more than small ones.
REFERENCES = ("minimum_norm", "ridge")

# Directions that the compositions determine by less than this are taken as undetermined.
RELATIVE_CUTOFF = 1e-10
# Solutions are corrected by fits to their own residuals, until only rounding is left.
N_REFINEMENTS = 2
# Averages explain energies if they leave less than this share of what sums leave.
SHARE_OF_AVERAGES = 0.05
# Rows in a block of the factorisation: 100 columns of them take 8 MB.
BLOCK = 10_000


def element_counts(crystals: Crystals, n_elements: int) -> Any:
    """Return the atoms of each element in each crystal, column Z - 1.

    Returns
    -------
    scipy.sparse.csr_array of shape (n, n_elements)
        The counts: a crystal holds few of the elements.
    """
    crystal = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    entries = crystal * n_elements + (crystals.atomic_numbers.astype(np.int64) - 1)
    entries, counts = np.unique(entries, return_counts=True)
    rows, columns = (index.astype(np.int32) for index in np.divmod(entries, n_elements))
    values = counts.astype(np.int32), (rows, columns)
    return sparse.csr_array(values, shape=(len(crystals), n_elements))


def fit_reference_energies(counts: Any, energy: np.ndarray) -> np.ndarray:
    """Return the energies of elements (eV per atom) that best add up to the energies of crystals.

    Least squares in float64, on energies and counts per atom, so that large cells weigh no more
    than small ones. Fixed stoichiometries make the problem singular; the solution nearest to the
    mean energy per atom is taken, which elements without a crystal get as well. What remains of
    the energies does not depend on offsets of the elements, whatever their size.

    Parameters
    ----------
    counts : ndarray or sparse array of shape (n, n_elements)
        Atoms of each element.
    energy : ndarray of shape (n,)
        Energies in eV per cell.

    Returns
    -------
    ndarray of shape (n_elements,)
        The reference energies.
    """
    per_atom = energy / counts.sum(axis=1)
    # The fractions of a crystal add up to 1: the mean is a solution for a single composition.
    references = np.full(counts.shape[1], per_atom.mean())
    for _ in range(1 + N_REFINEMENTS):
        references = references + _minimum_norm(counts, energy, references)
    return references


class SizeDependence(NamedTuple):
    """How energies depend on the number of atoms in the cell.

    Attributes
    ----------
    offset : float
        Energy per cell in eV, whatever the number of atoms, beside those of the elements.
    by_offset : float
        Share that the offset explains of the variance per atom which the elements leave.
    by_averages : float
        Squares of the energies less averages of those of the elements, over squares of the
        energies less sums and an offset: below 1 for energies per atom. Infinite if averages
        explain no more than sums do.
    """

    offset: float
    by_offset: float
    by_averages: float


def size_dependence(counts: Any, energy: np.ndarray) -> SizeDependence:
    """Fit an offset per cell beside the energies of elements, and averages of these energies."""
    n_atoms = np.asarray(counts.sum(axis=1), dtype=np.float64)
    solution = np.zeros(counts.shape[1] + 1)
    for _ in range(1 + N_REFINEMENTS):
        solution = solution + _minimum_norm(counts, energy, solution)
    with_offset = _remainder(counts, energy, solution)
    without = _remainder(counts, energy, fit_reference_energies(counts, energy))
    total = float(np.square(without).sum())
    by_offset = 1.0 - float(np.square(with_offset).sum()) / total if total > 0 else 0.0
    # Averages times the number of atoms are sums: what is fitted per atom are the energies.
    multiples = energy * n_atoms
    averaged = _remainder(counts, multiples, fit_reference_energies(counts, multiples))
    by_averages = np.inf
    if np.square(averaged).sum() < SHARE_OF_AVERAGES * np.square(without * n_atoms).sum():
        rest = np.square(with_offset * n_atoms).sum()
        by_averages = float(np.square(averaged).sum() / rest) if rest > 0 else 1.0
    return SizeDependence(float(solution[-1]), by_offset, by_averages)


def _remainder(counts: Any, energy: np.ndarray, solution: np.ndarray) -> np.ndarray:
    """Return what a solution leaves of the energies per atom, (n,)."""
    return np.concatenate([values for _, values in _blocks(counts, energy, solution)])


def _minimum_norm(counts: Any, energy: np.ndarray, solution: np.ndarray) -> np.ndarray:
    """Return the correction of a solution: that of what it leaves, of minimum norm.

    An orthogonal factorisation block by block leaves a small triangle with the same solution, so
    that a million crystals take seconds. Normal equations would square the condition number.
    """
    triangle = np.empty((0, len(solution) + 1))
    for columns, values in _blocks(counts, energy, solution):
        rows = np.column_stack([columns, values])
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, rows]), mode="r"))
    correction: np.ndarray
    correction = np.linalg.lstsq(triangle[:, :-1], triangle[:, -1], rcond=RELATIVE_CUTOFF)[0]
    return correction


def _blocks(
    counts: Any, energy: np.ndarray, solution: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the equations of some crystals after the other, per atom: columns and remainders.

    Columns are the fractions of the elements and, where the solution has a number more than there
    are elements, one over the number of atoms. All of them at once would take more memory than
    the counts.
    """
    for start in range(0, len(energy), BLOCK):
        block = counts[start : start + BLOCK]
        dense = np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)
        n_atoms = dense.sum(axis=1)
        columns = dense / n_atoms[:, None]
        if len(solution) > columns.shape[1]:
            columns = np.column_stack([columns, 1.0 / n_atoms])
        yield columns, energy[start : start + BLOCK] / n_atoms - columns @ solution
