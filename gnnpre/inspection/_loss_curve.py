"""Losses by epoch."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._axes import axes_to_draw_on
from ._inputs import fitted_network
from ._svg import COLORS, GREY, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LossCurveDisplay", "loss_axes"]


class LossCurveDisplay:
    """Plot the losses of a training by epoch.

    Parameters
    ----------
    history : list of dict
        Losses of each epoch, as ``history_`` of an estimator holds them.
    columns : sequence of str, optional
        Columns to plot; ``train_loss`` and, if there is one, ``valid_loss`` by default.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that :meth:`plot` has drawn on.
    figure_ : matplotlib Figure
        The figure of these axes.
    lines_ : list of matplotlib Line2D
        A line for each column.

    See Also
    --------
    gnnpre.PropertyRegressor : Has ``history_``, with the columns that the glossary describes.

    Examples
    --------
    >>> from gnnpre.inspection import LossCurveDisplay
    >>> history = [{"train_loss": 1.0, "valid_loss": 1.1}, {"train_loss": 0.5, "valid_loss": 0.8}]
    >>> display = LossCurveDisplay(history).plot()
    >>> display.ax_.get_xlabel()
    'epoch'
    """

    def __init__(
        self, history: Sequence[dict[str, Any]], *, columns: Sequence[str] | None = None
    ) -> None:
        self.history = history
        self.columns = columns

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, columns: Sequence[str] | None = None, ax: Any = None
    ) -> "LossCurveDisplay":
        """Plot the losses of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted Pretrainer, PropertyRegressor or PropertyClassifier, or a Pipeline or search
            around one.
        columns : sequence of str, optional
            Columns of ``history_`` to plot, such as ``["valid_forces"]``.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        LossCurveDisplay
            The display, which has drawn itself.

        Raises
        ------
        TypeError
            If the estimator has no network.
        ValueError
            If there is no such column.
        """
        network, _ = fitted_network(estimator, cls.__name__)
        return cls(network.history_, columns=columns).plot(ax)

    def plot(self, ax: Any = None) -> "LossCurveDisplay":
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        LossCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If the history is empty, or has no such column.
        """
        columns = self._checked_columns()
        axes = axes_to_draw_on(ax, type(self).__name__)
        epochs = np.arange(1, len(self.history) + 1)
        # A line of one epoch would not be seen without a marker.
        marker = "o" if len(epochs) == 1 else None
        self.lines_, positive = [], True
        for rank, column in enumerate(columns):
            values = np.array([row.get(column, np.nan) for row in self.history], dtype=float)
            color = COLORS[rank % len(COLORS)]
            self.lines_ += axes.plot(
                epochs, values, color=color, marker=marker, label=plain(column)
            )
            # A logarithmic axis would hide scores of zero or below.
            positive = positive and bool((values[np.isfinite(values)] > 0).all())
        _finish(axes, positive)
        self.ax_, self.figure_ = axes, axes.figure
        return self

    def _checked_columns(self) -> list[str]:
        if not self.history:
            raise ValueError("history is empty: the training has finished no epoch.")
        present = list(dict.fromkeys(column for row in self.history for column in row))
        if self.columns is None:
            return [name for name in ("train_loss", "valid_loss") if name in present]
        is_list = isinstance(self.columns, Iterable) and np.ndim(self.columns) == 1
        columns = list(self.columns) if is_list else []
        if not columns or not all(isinstance(name, str) and name in present for name in columns):
            raise ValueError(
                f"columns={self.columns!r}; expected a list of columns of the history, which are "
                f"{', '.join(present)}."
            )
        return columns


def _finish(axes: "Axes", positive: bool) -> None:
    axes.set_ylabel("loss")
    if positive:
        loss_axes(axes)
    else:
        axes.set_xlabel("epoch")
    axes.legend(frameon=False)


def loss_axes(axes: "Axes") -> None:
    """Scale axes for losses by epoch: whole epochs, and a logarithm with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogFormatter

    def plain_number(value: float, position: int) -> str:
        # LogFormatter chooses which ticks have a label; the text is ours: 40, not 4 x 10^1.
        return f"{value:g}" if chooser(value, position) else ""

    axes.set(xlabel="epoch", yscale="log")
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.yaxis.set_major_formatter("{x:g}")
    chooser = LogFormatter(minor_thresholds=(2, 0.5))
    chooser.set_axis(axes.yaxis)
    axes.yaxis.set_minor_formatter(FuncFormatter(plain_number))
    axes.grid(axis="y", color=GREY, alpha=0.25)
