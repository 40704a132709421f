"""Reference energies of elements, fitted to the energies of crystals."""

import numpy as np

from gnnpre.graphs import CrystalGraphs

__all__ = ["REFERENCES", "element_counts", "fit_reference_energies"]

REFERENCES = ("ridge", "minimum_norm")
RIDGE_PENALTY = 1e-3


def element_counts(graphs: CrystalGraphs, n_elements: int) -> np.ndarray:
    """How many atoms of each element each crystal has: ``(n, n_elements)``, column Z - 1."""
    crystal = np.repeat(np.arange(len(graphs)), graphs.atom_counts)
    numbers = graphs.atomic_numbers.cpu().numpy().astype(np.int64)
    flat = np.bincount(crystal * n_elements + numbers - 1, minlength=len(graphs) * n_elements)
    return flat.reshape(len(graphs), n_elements)


def fit_reference_energies(counts: np.ndarray, energy: np.ndarray, method: str) -> np.ndarray:
    """Energies of elements (eV per atom) that together come nearest to ``energy`` (eV per cell).

    Energies and counts per atom are fitted, so that large cells weigh no more than small ones.
    Fixed stoichiometries leave the system singular: of all solutions the one nearest to the mean
    energy per atom is taken, which is also what elements without a crystal get.
    """
    n_atoms = counts.sum(axis=1)
    fractions = counts / n_atoms[:, None]
    per_atom = energy / n_atoms
    mean = per_atom.mean()
    if method == "minimum_norm":
        return mean + np.linalg.lstsq(fractions, per_atom - mean, rcond=1e-8)[0]
    gram = fractions.T @ fractions + RIDGE_PENALTY * np.eye(counts.shape[1])
    return mean + np.linalg.solve(gram, fractions.T @ (per_atom - mean))
