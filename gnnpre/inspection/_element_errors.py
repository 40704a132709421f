"""The error by element, on the periodic table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnnpre._labels import as_floats
from gnnpre._validation import check_number
from gnnpre.graphs import CrystalGraphs, as_crystals

from ._axes import axes_to_draw_on, with_unit
from ._inputs import as_pairs, column_like, predictions, target_column
from ._periodic_table import MIN_CRYSTALS, paint_table
from ._svg import plain

__all__ = ["ErrorByElementDisplay"]


class ErrorByElementDisplay:
    """Plot the mean absolute error of the crystals that contain an element.

    Parameters
    ----------
    errors : mapping of str to float
        Mean absolute errors by symbol of the element.
    counts : mapping of str to int
        Numbers of crystals with this element.
    unit : str
        Unit of the property.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that :meth:`plot` has drawn on.
    figure_ : matplotlib Figure
        The figure of these axes.

    Notes
    -----
    A crystal counts once for each of its elements. An element with a large error need not be its
    cause: it may just often stand beside one that is. Colours end at the 95th percentile.

    Examples
    --------
    >>> from gnnpre.datasets import make_emt_property
    >>> from gnnpre.inspection import ErrorByElementDisplay
    >>> structures, y = make_emt_property(20, max_atoms=4, random_state=0)
    >>> display = ErrorByElementDisplay.from_predictions(structures, y, y + 1.0, unit="GPa")
    >>> round(display.errors["Cu"], 6)
    1.0
    """

    def __init__(
        self, errors: Mapping[str, float], counts: Mapping[str, int], *, unit: str = ""
    ) -> None:
        self.errors = errors
        self.counts = counts
        self.unit = unit

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        target: Any = None,
        unit: str = "",
        min_crystals: int = MIN_CRYSTALS,
        ax: Any = None,
    ) -> "ErrorByElementDisplay":
        """Plot the errors of a fitted regressor.

        Parameters
        ----------
        estimator : estimator
            Any fitted regressor of crystals.
        X : container of n structures, Crystals or CrystalGraphs
            Crystals that the estimator has not been fitted on.
        y : array-like of shape (n,) or (n, k)
            Their property, NaN where it is missing.
        target : int or str, optional
            The column of y, if it has several.
        unit : str
            Unit of the property.
        min_crystals : int
            Elements in fewer crystals are grey.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        ErrorByElementDisplay
            The display, which has drawn itself.
        """
        predicted = column_like(y, predictions(estimator, X), target)
        return cls.from_predictions(
            X, target_column(y, target), predicted, unit=unit, min_crystals=min_crystals, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y_true: Any,
        y_pred: Any,
        *,
        unit: str = "",
        min_crystals: int = MIN_CRYSTALS,
        ax: Any = None,
    ) -> "ErrorByElementDisplay":
        """Plot the errors of predictions.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        y_true, y_pred : array-like of shape (n,)
            Labels, NaN where one is missing, and predictions.
        unit : str
            Unit of the property.
        min_crystals : int
            Elements in fewer crystals are grey.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        ErrorByElementDisplay
            The display, which has drawn itself.
        """
        errors, counts = errors_by_element(X, y_true, y_pred)
        return cls(errors, counts, unit=unit).plot(ax, min_crystals=min_crystals)

    def plot(self, ax: Any = None, *, min_crystals: int = MIN_CRYSTALS) -> "ErrorByElementDisplay":
        """Draw the periodic table.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.
        min_crystals : int
            Elements in fewer crystals are grey.

        Returns
        -------
        ErrorByElementDisplay
            The display.
        """
        check_number("min_crystals", min_crystals, integer=True)
        axes = axes_to_draw_on(ax, type(self).__name__, (9.0, 5.0))
        shown = {s: error for s, error in self.errors.items() if self.counts[s] >= min_crystals}
        paint_table(axes, shown, self.errors)
        axes.set_title(plain(with_unit("mean absolute error by element", self.unit)))
        self.ax_, self.figure_ = axes, axes.figure
        return self


def errors_by_element(X: Any, y_true: Any, y_pred: Any) -> tuple[dict[str, float], dict[str, int]]:
    """Return mean absolute errors, and numbers of labelled crystals, by symbol."""
    from ase.data import chemical_symbols

    crystals = X if isinstance(X, CrystalGraphs) else as_crystals(X)
    y_true = as_floats("y_true", y_true, n_rows=len(crystals), n_dims=(1,))
    true, predicted, rows = as_pairs(
        y_true, y_pred, np.arange(len(y_true)), names=("y_pred", "rows")
    )
    # A matrix of which crystal has which element: (n, Z).
    atoms = np.asarray(crystals.atomic_numbers)
    counts = crystals.atom_counts if isinstance(crystals, CrystalGraphs) else crystals.n_atoms
    contains = np.zeros((len(crystals), len(chemical_symbols)), dtype=bool)
    contains[np.repeat(np.arange(len(crystals)), np.asarray(counts)), atoms] = True
    contains = contains[rows.astype(int)]
    n_crystals = contains.sum(axis=0)
    sums = np.abs(true - predicted) @ contains
    numbers = np.flatnonzero(n_crystals)
    errors = {chemical_symbols[z]: float(sums[z] / n_crystals[z]) for z in numbers}
    return errors, {chemical_symbols[z]: int(n_crystals[z]) for z in numbers}
