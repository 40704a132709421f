"""A check of properties that grow with the cell although the readout is a mean over atoms."""

from collections.abc import Iterator

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.graphs import CrystalGraphs, LazyCrystals
from gnnpre.objectives import Mixture, Objective, PropertyTargets, Targets

__all__ = ["grows_with_cell", "warn_of_extensive_targets"]

# Fewer labelled crystals say little about any model of the composition.
LEAST_CRYSTALS = 15
# Larger sets are judged by a sample.
SAMPLE = 2000
# A large effect: the property follows the number of atoms, and the extensive model leaves at most
# this fraction of the intensive one's squared error (less in sets of fewer than FULL crystals).
LEAST_CORRELATION, LARGEST_RATIO, FULL = 0.5, 0.5, 60
# A certain effect: smaller mean squared and absolute errors, the latter by this many standard
# errors of the difference, in sets that are large enough to fit a number to each element.
CRYSTALS_PER_ELEMENT = 5
LARGEST_CERTAIN_RATIO, LEAST_SIGNIFICANCE = 0.95, 4.0


def warn_of_extensive_targets(
    objective: Objective, graphs: CrystalGraphs, targets: Targets, rows: np.ndarray
) -> None:
    """Warn of properties per cell that a readout without ``pooling="sum"`` cannot learn.

    Parameters
    ----------
    objective : Objective
        Config of the objective.
    graphs : CrystalGraphs
        The crystals.
    targets : Targets
        Their labels.
    rows : ndarray of int
        Crystals to look at.
    """
    sample = np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])
    for name, learnt in _property_targets(objective):
        values = targets.crystal[name].cpu().numpy()[sample]
        fractions, n_atoms = _compositions(graphs, sample)
        columns = [k for k, v in enumerate(values.T) if grows_with_cell(v, fractions, n_atoms)]
        if columns:
            which = "y" if values.shape[1] == 1 else f"y, in column {columns[0]},"
            warn_user(
                f"{which} grows with the number of atoms of the cell, but "
                f"pooling={learnt.pooling!r} predicts the same for a crystal and its supercell. "
                "Use pooling='sum' for a property of the cell, or learn it per atom: y / n_atoms.",
                DataQualityWarning,
            )


def _property_targets(objective: Objective) -> Iterator[tuple[str, PropertyTargets]]:
    """Yield names of targets, and the objectives that learn them by a readout that is no sum."""
    if isinstance(objective, Mixture):
        items = [(f"{name}.properties", item) for name, item, _ in objective.parts]
    else:
        items = [("properties", objective)]
    for name, item in items:
        if isinstance(item, PropertyTargets) and item.pooling != "sum":
            yield name, item


def grows_with_cell(values: np.ndarray, fractions: np.ndarray, n_atoms: np.ndarray) -> bool:
    """Return whether a property belongs to the cell rather than to the material.

    Two linear models of the composition are compared by their leave-one-out errors: one for
    properties of the material (atomic fractions), one for properties of the cell (numbers of
    atoms). The latter has to be better, and not by chance.

    Parameters
    ----------
    values : ndarray of shape (n,)
        The property, NaN where missing.
    fractions : ndarray of shape (n, n_elements)
        Atomic fractions.
    n_atoms : ndarray of shape (n,)
        Atoms of each cell.

    Returns
    -------
    bool
        Whether it grows with the cell.
    """
    labelled = np.isfinite(values)
    y, x, sizes = values[labelled], fractions[labelled], n_atoms[labelled].astype(np.float64)
    if len(y) < LEAST_CRYSTALS or len(np.unique(sizes)) < 2 or np.ptp(y) == 0:
        return False
    y = y / np.abs(y).max()  # so that squares of a tiny or huge unit do not vanish or overflow
    cell_counts, ones = x * sizes[:, None], np.ones((len(y), 1))
    material = _best(_leave_one_out(ones, y), _leave_one_out(x, y))
    cell = _best(_leave_one_out(sizes[:, None], y), _leave_one_out(cell_counts, y))
    squares = np.square(cell).mean() / np.square(material).mean()
    limit = LARGEST_RATIO * min(1.0, len(y) / FULL)
    if squares < limit and abs(np.corrcoef(y, sizes)[0, 1]) >= LEAST_CORRELATION:
        return True
    if len(y) < CRYSTALS_PER_ELEMENT * np.count_nonzero(x.any(axis=0)):
        return False
    gain = material - cell
    standard_error = gain.std() / np.sqrt(len(gain))
    smaller = max(squares, cell.mean() / material.mean()) < LARGEST_CERTAIN_RATIO
    return bool(smaller and gain.mean() > LEAST_SIGNIFICANCE * standard_error)


def _best(*errors: np.ndarray) -> np.ndarray:
    return min(errors, key=lambda e: float(np.square(e).mean()))


def _leave_one_out(features: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return absolute leave-one-out errors ``(n,)`` of a ridge regression without intercept."""
    scale = np.sqrt(np.square(features).mean(axis=0))
    features = features[:, scale > 0] / scale[scale > 0]
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    errors = []
    for penalty in (1e-3, 1e-1, 10.0):
        weights = u * (s**2 / (s**2 + penalty))  # (n, rank)
        leverage = np.einsum("nr,nr->n", weights, u)
        residuals = (y - weights @ (u.T @ y)) / np.maximum(1.0 - leverage, 1e-6)
        errors.append(np.abs(residuals))
    return _best(*errors)


def _compositions(graphs: CrystalGraphs, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return atomic fractions ``(n, n_elements)`` and numbers of atoms ``(n,)``."""
    crystals = graphs.to_crystals()
    if isinstance(crystals, LazyCrystals):
        sample = crystals.load(rows, info=False)
    else:
        sample = crystals[rows]
    elements, columns = np.unique(sample.atomic_numbers, return_inverse=True)
    counts = np.zeros((len(rows), len(elements)))
    n_atoms = sample.n_atoms
    np.add.at(counts, (np.repeat(np.arange(len(rows)), n_atoms), columns), 1.0)
    return counts / n_atoms[:, None], n_atoms
