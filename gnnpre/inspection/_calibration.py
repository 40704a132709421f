"""Whether prediction intervals hold as many labels as they should."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gnnpre._validation import check_number
from gnnpre.estimators import as_graphs

from ._axes import axes_to_draw_on
from ._inputs import as_pairs, column_like, target_column, unwrap
from ._svg import BLUE, GREY

__all__ = ["LEVELS", "CalibrationDisplay", "graphs_once"]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
#: Half the width of a 95 % interval, in standard deviations.
TWO_SIGMA = 1.96


class CalibrationDisplay:
    """Plot the fraction of labels within prediction intervals against their confidence.

    Points on the diagonal are calibrated; below it intervals are too narrow.

    Parameters
    ----------
    confidences : array-like of shape (m,)
        Confidences of the intervals.
    coverages : array-like of shape (m,)
        Fractions of labels within them.
    n_crystals : int
        Number of labels, for the range that chance explains.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that :meth:`plot` has drawn on.
    figure_ : matplotlib Figure
        The figure of these axes.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The same for the probabilities of classifiers.
    ParityDisplay : Shows the intervals of each crystal.

    Notes
    -----
    The grey band is where 95 % of the points lie for calibrated intervals of so many independent
    crystals (normal approximation of the binomial distribution).

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre.inspection import CalibrationDisplay
    >>> y_true = np.random.default_rng(0).normal(size=1000)
    >>> display = CalibrationDisplay.from_predictions(y_true, np.zeros(1000), np.ones(1000))
    >>> bool(abs(display.coverages - display.confidences).max() < 0.05)
    True
    """

    def __init__(self, confidences: Any, coverages: Any, *, n_crystals: int) -> None:
        self.confidences = confidences
        self.coverages = coverages
        self.n_crystals = n_crystals

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        confidences: Sequence[float] = LEVELS,
        target: Any = None,
        ax: Any = None,
    ) -> "CalibrationDisplay":
        """Plot the calibration of ``predict_interval``.

        Parameters
        ----------
        estimator : estimator
            A fitted PropertyRegressor with ``calibration_fraction``, PropertyEnsemble, or another
            with ``predict_interval(X, confidence)``.
        X : container of n structures, Crystals or CrystalGraphs
            Crystals that the estimator has not been fitted on.
        y : array-like of shape (n,) or (n, k)
            Their property, NaN where it is missing.
        confidences : sequence of float
            Confidences of the intervals.
        target : int or str, optional
            The column of y, if it has several.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        CalibrationDisplay
            The display, which has drawn itself.

        Raises
        ------
        TypeError
            If the estimator predicts no intervals.
        """
        predictor, X = unwrap(estimator, X)
        if not hasattr(predictor, "predict_interval"):
            raise TypeError(
                f"{type(predictor).__name__} has no predict_interval. Use PropertyRegressor with "
                "calibration_fraction, or PropertyEnsemble; for the probabilities of a classifier "
                "there is sklearn.calibration.CalibrationDisplay."
            )
        levels = _checked(confidences)
        X, true = graphs_once(predictor, X), target_column(y, target)
        coverages = []
        for level in levels:
            ends = predictor.predict_interval(X, float(level))
            labels, lower, upper = as_pairs(
                true, *(column_like(y, end, target) for end in ends), names=("lower", "upper")
            )
            coverages.append(np.mean((lower <= labels) & (labels <= upper)))
        return cls(levels, np.array(coverages), n_crystals=len(labels)).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        y_std: Any,
        *,
        confidences: Sequence[float] = LEVELS,
        ax: Any = None,
    ) -> "CalibrationDisplay":
        """Plot the calibration of standard deviations, as those of normal distributions.

        Parameters
        ----------
        y_true, y_pred, y_std : array-like of shape (n,)
            Labels, predictions, and the standard deviations of these.
        confidences : sequence of float
            Confidences of the intervals.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        CalibrationDisplay
            The display, which has drawn itself.

        Raises
        ------
        ValueError
            If lengths differ, no row has a label, or a standard deviation is negative.
        """
        from scipy.stats import norm

        levels = _checked(confidences)
        true, predicted, std = as_pairs(y_true, y_pred, y_std, names=("y_pred", "y_std"))
        if (std < 0).any():
            raise ValueError(f"y_std has {std.min():g}; expected standard deviations of 0 or more.")
        half = norm.ppf(0.5 + levels / 2)[:, None] * std
        coverages = (np.abs(true - predicted) <= half).mean(axis=1)
        return cls(levels, coverages, n_crystals=len(true)).plot(ax)

    def plot(self, ax: Any = None) -> "CalibrationDisplay":
        """Draw coverages against confidences.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        CalibrationDisplay
            The display.
        """
        axes = axes_to_draw_on(ax, type(self).__name__, (4.4, 4.4))
        diagonal = np.linspace(0.0, 1.0, 101)
        band = TWO_SIGMA * np.sqrt(diagonal * (1 - diagonal) / self.n_crystals)
        low, high = np.clip(diagonal - band, 0, 1), np.clip(diagonal + band, 0, 1)
        axes.fill_between(diagonal, low, high, color=GREY, alpha=0.2, linewidth=0)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        axes.plot(self.confidences, self.coverages, "o-", color=BLUE, markersize=4)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_xlabel("confidence of the interval")
        axes.set_ylabel("fraction of labels within")
        self.ax_, self.figure_ = axes, axes.figure
        return self


def _checked(confidences: Any) -> np.ndarray:
    is_array = isinstance(confidences, np.ndarray) and confidences.ndim == 1
    if not is_array and (isinstance(confidences, str) or not isinstance(confidences, Sequence)):
        raise TypeError(f"confidences={confidences!r}; expected a sequence such as (0.5, 0.9).")
    for index, confidence in enumerate(confidences):
        check_number(f"confidences[{index}]", confidence, high=1.0, high_included=False)
    if len(confidences) == 0:
        raise ValueError("confidences is empty; expected numbers between 0 and 1.")
    return np.asarray(confidences, dtype=float)


def graphs_once(estimator: Any, X: Any) -> Any:
    """Return X as graphs where the estimator builds them itself, for each confidence anew."""
    settings = getattr(estimator, "graph_settings_", None)
    return X if settings is None else as_graphs(X, settings)
