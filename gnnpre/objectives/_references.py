"""Reference energies of elements, fitted to the energies of crystals."""

from typing import Any

import numpy as np
from scipy import sparse

from gnnpre.graphs import Crystals

__all__ = ["REFERENCES", "cell_offset", "element_counts", "fit_reference_energies"]

#: Both name the least-squares solution: the limit of a ridge whose penalty vanishes is the solution
#: of minimum norm. A finite penalty would shrink large energies by more than small ones.
REFERENCES = ("minimum_norm", "ridge")

# Directions that the compositions determine by less than this are taken as undetermined.
RELATIVE_CUTOFF = 1e-10
# Solutions are corrected by fits to their own residuals, until only rounding is left.
N_REFINEMENTS = 2
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
    values = counts.astype(np.float64), (rows, columns)
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
    fractions, per_atom = _per_atom(counts, energy)
    # The fractions of a crystal add up to 1: the mean is a solution for a single composition.
    references = np.full(counts.shape[1], per_atom.mean())
    for _ in range(1 + N_REFINEMENTS):
        references = references + _minimum_norm(fractions, per_atom - fractions @ references)
    return references


def cell_offset(counts: Any, energy: np.ndarray) -> tuple[float, float]:
    """Fit an energy per cell beside those of the elements.

    Returns
    -------
    offset : float
        The energy per cell in eV.
    explained : float
        Share that it explains of the variance per atom which the elements leave unexplained.
    """
    fractions, per_atom = _per_atom(counts, energy)
    columns = sparse.hstack([fractions, 1.0 / counts.sum(axis=1)[:, None]], format="csr")
    solution = np.zeros(columns.shape[1])
    for _ in range(1 + N_REFINEMENTS):
        solution = solution + _minimum_norm(columns, per_atom - columns @ solution)
    with_offset = per_atom - columns @ solution
    without = per_atom - fractions @ fit_reference_energies(counts, energy)
    total = float(np.square(without).sum())
    explained = 1.0 - float(np.square(with_offset).sum()) / total if total > 0 else 0.0
    return float(solution[-1]), explained


def _per_atom(counts: Any, energy: np.ndarray) -> tuple[Any, np.ndarray]:
    """Return atomic fractions, sparse, and energies per atom."""
    n_atoms = counts.sum(axis=1)
    return sparse.diags_array(1.0 / n_atoms).tocsr() @ sparse.csr_array(counts), energy / n_atoms


def _minimum_norm(columns: Any, values: np.ndarray) -> np.ndarray:
    """Solve ``columns @ x = values`` by least squares, x of minimum norm.

    An orthogonal factorisation block by block leaves a small triangle with the same solution, so
    that a million crystals take seconds. Normal equations would square the condition number.
    """
    triangle = np.empty((0, columns.shape[1] + 1))
    for start in range(0, len(values), BLOCK):
        block = slice(start, start + BLOCK)
        rows = np.column_stack([columns[block].toarray(), values[block]])
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, rows]), mode="r"))
    solution: np.ndarray
    solution = np.linalg.lstsq(triangle[:, :-1], triangle[:, -1], rcond=RELATIVE_CUTOFF)[0]
    return solution
