"""A check of properties that grow with the cell under a mean over atoms, or do not under a sum."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.graphs import CrystalGraphs, LazyCrystals, is_on_disk
from gnnpre.objectives import Mixture, Objective, PropertyTargets, Targets

__all__ = ["grows_with_cell", "is_of_material", "warn_of_extensive_targets"]

# Fewer labelled crystals say little about any model of the composition.
LEAST_CRYSTALS = 15
# Larger sets are judged by a sample.
SAMPLE, SAMPLED_BLOCKS = 2000, 32
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
    """Warn of properties per cell that a mean over atoms cannot learn, or of others under a sum.

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
    sample = _sample_rows(graphs, rows)
    for name, learnt in _property_targets(objective):
        values = targets.crystal[name].cpu().numpy()[sample]
        fractions, n_atoms = _compositions(graphs, sample)
        is_sum = learnt.pooling == "sum"
        is_wrong = is_of_material if is_sum else grows_with_cell
        columns = [k for k, v in enumerate(values.T) if is_wrong(v, fractions, n_atoms)]
        if not columns:
            continue
        which = "y" if values.shape[1] == 1 else f"y, in column {columns[0]},"
        if is_sum:
            warn_user(
                f"{which} does not grow with the number of atoms of the cell, but pooling='sum' "
                "predicts twice the value for a doubled cell. Use pooling='mean' for a property "
                "of the material, or learn that of the cell: y * n_atoms.",
                DataQualityWarning,
            )
        else:
            warn_user(
                f"{which} grows with the number of atoms of the cell, but "
                f"pooling={learnt.pooling!r} predicts the same for a crystal and its supercell. "
                "Use pooling='sum' for a property of the cell, or learn it per atom: y / n_atoms.",
                DataQualityWarning,
            )


def _sample_rows(graphs: CrystalGraphs, rows: np.ndarray) -> np.ndarray:
    """Return random rows, ascending; of crystals on disk, those of a few random blocks."""
    rng = np.random.default_rng(0)
    if is_on_disk(graphs) and len(rows) > SAMPLE:
        # One row of each block would read all of them.
        blocks = graphs.crystals.blocks[rows]
        rows = rows[np.isin(blocks, rng.permutation(np.unique(blocks))[:SAMPLED_BLOCKS])]
    return np.sort(rng.permutation(rows)[:SAMPLE])


def _property_targets(objective: Objective) -> Iterator[tuple[str, PropertyTargets]]:
    """Yield names of targets, and the objectives that learn them.

    A sum of features that a perceptron reads afterwards may be of either kind.
    """
    if isinstance(objective, Mixture):
        items = [(f"{name}.properties", item) for name, item, _ in objective.parts]
    else:
        items = [("properties", objective)]
    for name, item in items:
        if isinstance(item, PropertyTargets) and (item.pooling, item.readout) != ("sum", "early"):
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
    compared = _compare_models(values, fractions, n_atoms)
    if compared is None:
        return False
    follows_size = abs(compared.correlation) >= LEAST_CORRELATION
    if follows_size and _ratio(compared.cell, compared.material) < compared.largest_ratio:
        return True
    return compared.is_large_set and _is_certainly_better(compared.cell, compared.material)


def is_of_material(values: np.ndarray, fractions: np.ndarray, n_atoms: np.ndarray) -> bool:
    """Return whether a property belongs to the material rather than to the cell.

    Parameters
    ----------
    values, fractions, n_atoms : ndarray
        As for :func:`grows_with_cell`.

    Returns
    -------
    bool
        Whether the linear model of atomic fractions is better than that of numbers of atoms, and
        not by chance.
    """
    compared = _compare_models(values, fractions, n_atoms)
    if compared is None:
        return False
    if _ratio(compared.material, compared.cell) < compared.largest_ratio:
        return True
    return compared.is_large_set and _is_certainly_better(compared.material, compared.cell)


class _Comparison(NamedTuple):
    """Absolute leave-one-out errors of two models, and how much they can tell."""

    material: np.ndarray  # (n,)
    cell: np.ndarray  # (n,)
    correlation: float  # of the property with the number of atoms
    largest_ratio: float  # of squared errors that is a large effect in a set of this size
    is_large_set: bool


def _compare_models(
    values: np.ndarray, fractions: np.ndarray, n_atoms: np.ndarray
) -> _Comparison | None:
    labelled = np.isfinite(values)
    y, x, sizes = values[labelled], fractions[labelled], n_atoms[labelled].astype(np.float64)
    if len(y) < LEAST_CRYSTALS or len(np.unique(sizes)) < 2 or np.ptp(y) == 0:
        return None
    y = y / np.abs(y).max()  # so that squares of a tiny or huge unit do not vanish or overflow
    cell_counts, ones = x * sizes[:, None], np.ones((len(y), 1))
    return _Comparison(
        material=_best(_leave_one_out(ones, y), _leave_one_out(x, y)),
        cell=_best(_leave_one_out(sizes[:, None], y), _leave_one_out(cell_counts, y)),
        correlation=float(np.corrcoef(y, sizes)[0, 1]),
        largest_ratio=LARGEST_RATIO * min(1.0, len(y) / FULL),
        is_large_set=len(y) >= CRYSTALS_PER_ELEMENT * int(np.count_nonzero(x.any(axis=0))),
    )


def _ratio(errors: np.ndarray, of_rival: np.ndarray) -> float:
    """Return the ratio of the mean squared errors."""
    return float(np.square(errors).mean() / np.square(of_rival).mean())


def _is_certainly_better(errors: np.ndarray, of_rival: np.ndarray) -> bool:
    gain = of_rival - errors
    standard_error = gain.std() / np.sqrt(len(gain))
    ratios = _ratio(errors, of_rival), errors.mean() / of_rival.mean()
    return bool(
        max(ratios) < LARGEST_CERTAIN_RATIO and gain.mean() > LEAST_SIGNIFICANCE * standard_error
    )


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
