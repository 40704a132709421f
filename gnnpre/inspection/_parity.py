"""Predictions against labels."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gnnpre._validation import check_number, check_text

from ._axes import axes_to_draw_on, with_unit
from ._inputs import as_pairs, column_like, predictions, target_column, unwrap
from ._svg import BLUE, GREY, plain
from ._table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ParityDisplay", "paint_parity", "parity_limits"]

#: More points than this are counted in hexagons.
MAX_POINTS = 400


class ParityDisplay:
    """Plot predictions against labels, with intervals where there are some.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels; rows without one (NaN) are left out.
    y_pred : array-like of shape (n,)
        Predictions.
    lower, upper : array-like of shape (n,), optional
        Ends of prediction intervals.
    unit : str
        Unit of the property, for the labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that :meth:`plot` has drawn on.
    figure_ : matplotlib Figure
        The figure of these axes.

    See Also
    --------
    sklearn.metrics.PredictionErrorDisplay : The same, or residuals, for any regressor.
    CalibrationDisplay : Whether intervals hold as many labels as they should.

    Notes
    -----
    More than 400 points are counted in hexagons, with a logarithmic scale of colours; intervals
    are then not drawn, but the title has the fraction of labels within them.

    Examples
    --------
    >>> from gnnpre.inspection import ParityDisplay
    >>> display = ParityDisplay.from_predictions([1.0, 2.0, 3.0], [1.1, 1.9, 3.3], unit="eV")
    >>> display.ax_.get_ylabel()
    'prediction (eV)'
    """

    def __init__(
        self, y_true: Any, y_pred: Any, *, lower: Any = None, upper: Any = None, unit: str = ""
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.lower = lower
        self.upper = upper
        self.unit = unit

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        confidence: float | None = None,
        target: Any = None,
        unit: str = "",
        ax: Any = None,
    ) -> "ParityDisplay":
        """Plot the predictions of a fitted regressor.

        Parameters
        ----------
        estimator : estimator
            Any fitted regressor of crystals.
        X : container of n structures, Crystals or CrystalGraphs
            Crystals that the estimator has not been fitted on.
        y : array-like of shape (n,) or (n, k)
            Their property, NaN where it is missing.
        confidence : float, optional
            Draw the intervals of ``predict_interval`` with this confidence, such as 0.9.
        target : int or str, optional
            The column of y to plot, if it has several.
        unit : str
            Unit of the property.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        ParityDisplay
            The display, which has drawn itself.

        Raises
        ------
        ValueError
            If y has several columns and no target, or the estimator has no intervals.
        """
        lower = upper = None
        if confidence is not None:
            check_number("confidence", confidence, high=1.0, high_included=False)
            predictor, inputs = unwrap(estimator, X)
            if not hasattr(predictor, "predict_interval"):
                raise ValueError(
                    f"confidence={confidence} asks for intervals, which {type(predictor).__name__} "
                    "does not predict: leave confidence out, or use PropertyRegressor with "
                    "calibration_fraction, or PropertyEnsemble."
                )
            ends = predictor.predict_interval(inputs, confidence)
            lower, upper = (column_like(y, end, target) for end in ends)
        predicted = column_like(y, predictions(estimator, X), target)
        return cls.from_predictions(
            target_column(y, target), predicted, lower=lower, upper=upper, unit=unit, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        lower: Any = None,
        upper: Any = None,
        unit: str = "",
        ax: Any = None,
    ) -> "ParityDisplay":
        """Plot predictions, such as those of ``cross_val_predict``.

        Parameters
        ----------
        y_true : array-like of shape (n,)
            Labels.
        y_pred : array-like of shape (n,)
            Predictions.
        lower, upper : array-like of shape (n,), optional
            Ends of prediction intervals.
        unit : str
            Unit of the property.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        ParityDisplay
            The display, which has drawn itself.

        Raises
        ------
        ValueError
            If lengths differ, a prediction is missing, or no row has a label.
        """
        return cls(y_true, y_pred, lower=lower, upper=upper, unit=unit).plot(ax)

    def plot(self, ax: Any = None) -> "ParityDisplay":
        """Draw the predictions.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        ParityDisplay
            The display.

        Raises
        ------
        ValueError
            If lengths differ, a prediction is missing, or no row has a label.
        """
        # 1. Check the numbers.
        check_text("unit", self.unit)
        if (self.lower is None) != (self.upper is None):
            raise ValueError("lower and upper are the two ends of intervals: pass both, or none.")
        names: tuple[str, ...] = ("y_pred",)
        columns = [self.y_pred]
        if self.lower is not None:
            names, columns = ("y_pred", "lower", "upper"), [self.y_pred, self.lower, self.upper]
        true, predicted, *ends = as_pairs(self.y_true, *columns, names=names)
        # 2. Draw points or hexagons, and intervals.
        axes = axes_to_draw_on(ax, type(self).__name__, (4.6, 4.6))
        label = f"mean absolute error {number(np.abs(true - predicted).mean(), 3)}"
        label += f" {plain(self.unit)}" if self.unit else ""
        limits = parity_limits(np.concatenate([true, predicted]))
        if ends:
            inside = np.mean((ends[0] <= true) & (true <= ends[1]))
            label += f"\n{100 * inside:.0f} % of labels within their interval"
            if len(true) <= MAX_POINTS:
                axes.vlines(true, *ends, color=BLUE, alpha=0.35, linewidth=0.8)
                limits = parity_limits(np.concatenate([true, predicted, *ends]))
        paint_parity(axes, np.array([true, predicted]), limits)
        # 3. Name the axes.
        axes.set_xlabel(plain(with_unit("label", self.unit)))
        axes.set_ylabel(plain(with_unit("prediction", self.unit)))
        axes.set_title(label, fontsize="medium", loc="left")
        self.ax_, self.figure_ = axes, axes.figure
        return self


def parity_limits(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of both axes, a little beyond the finite values."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    margin = 0.03 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def paint_parity(axes: "Axes", points: np.ndarray, limits: tuple[float, float]) -> None:
    """Draw labels and predictions ``(2, n)`` and the diagonal, on axes with equal limits."""
    axes.plot(limits, limits, color=GREY, linewidth=0.8)
    if points.shape[1] > MAX_POINTS:
        extent = (*limits, *limits)
        cells = axes.hexbin(*points, gridsize=35, bins="log", mincnt=1, extent=extent, linewidths=0)
        cells.set_cmap("viridis")
    else:
        # A few small points would be hard to see, many large ones would hide each other.
        size, alpha = (6, 0.7) if points.shape[1] <= 50 else (3, 0.45)
        axes.plot(*points, "o", color=BLUE, alpha=alpha, markersize=size, markeredgewidth=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.locator_params(nbins=5)
