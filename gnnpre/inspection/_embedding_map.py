"""Embeddings of crystals in the plane."""

from typing import Any

import numpy as np

from gnnpre._array_likes import to_numpy
from gnnpre._labels import as_floats, as_labels
from gnnpre._validation import check_choice, check_text

from ._axes import axes_to_draw_on
from ._inputs import fitted_network, target_column
from ._svg import BLUE, COLORS, GREY, plain

__all__ = ["EmbeddingMapDisplay"]

METHODS = ("pca", "umap")
#: Enough for a scale that looks continuous.
N_COLORS = 64


class EmbeddingMapDisplay:
    """Plot the embeddings of crystals in two dimensions.

    Parameters
    ----------
    coordinates : ndarray of shape (n, 2)
        Where each crystal is drawn.
    values : ndarray of shape (n,), optional
        Numbers that colour the points, NaN where there is none, or labels of classes.
    axis_labels : tuple of str
        Labels of both axes.
    value_label : str
        Label of the scale of colours.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that :meth:`plot` has drawn on.
    figure_ : matplotlib Figure
        The figure of these axes.
    points_ : matplotlib PathCollection
        The points.

    See Also
    --------
    gnnpre.PropertyRegressor.embed : Returns the embeddings.

    Notes
    -----
    Principal components keep distances as far as two dimensions can, and their axes tell how much
    of the variance they show. UMAP keeps neighbourhoods and distorts distances: gaps between
    groups have no scale.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre.inspection import EmbeddingMapDisplay
    >>> table = np.random.default_rng(0).normal(size=(30, 8))
    >>> display = EmbeddingMapDisplay.from_embeddings(table, table[:, 0])
    >>> display.coordinates.shape
    (30, 2)
    """

    def __init__(
        self,
        coordinates: Any,
        values: Any = None,
        *,
        axis_labels: tuple[str, str] = ("first component", "second component"),
        value_label: str = "",
    ) -> None:
        self.coordinates = coordinates
        self.values = values
        self.axis_labels = axis_labels
        self.value_label = value_label

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        method: str = "pca",
        layer: int = -1,
        pooling: str = "mean",
        target: Any = None,
        value_label: str = "",
        random_state: Any = None,
        ax: Any = None,
    ) -> "EmbeddingMapDisplay":
        """Plot the embeddings by a fitted network.

        Parameters
        ----------
        estimator : estimator
            A fitted Pretrainer, PropertyRegressor or PropertyClassifier, or a Pipeline or search
            around one.
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        y : array-like of shape (n,) or (n, k), optional
            Numbers, or labels of classes, that colour the points.
        method : {"pca", "umap"}
            Principal components, or UMAP, which needs the package umap-learn.
        layer : int
            Layer of the network, as ``embed`` takes it.
        pooling : {"mean", "sum", "max", "cumulants"}
            Pooling over the atoms.
        target : int or str, optional
            The column of y, if it has several.
        value_label : str
            Label of the scale of colours.
        random_state : int, RandomState instance or None
            Seed of UMAP.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        EmbeddingMapDisplay
            The display, which has drawn itself.

        Raises
        ------
        TypeError
            If the estimator has no network.
        """
        network, X = fitted_network(estimator, cls.__name__, X)
        embeddings = network.embed(X, layer=layer, pooling=pooling)
        return cls.from_embeddings(
            embeddings,
            y if y is None or _is_text(y) else target_column(y, target),
            method=method,
            value_label=value_label,
            random_state=random_state,
            ax=ax,
        )

    @classmethod
    def from_embeddings(
        cls,
        embeddings: Any,
        values: Any = None,
        *,
        method: str = "pca",
        value_label: str = "",
        random_state: Any = None,
        ax: Any = None,
    ) -> "EmbeddingMapDisplay":
        """Plot embeddings, or other features of crystals.

        Parameters
        ----------
        embeddings : array-like of shape (n, C)
            The features.
        values : array-like of shape (n,), optional
            Numbers, or labels of classes, that colour the points.
        method : {"pca", "umap"}
            Principal components, or UMAP, which needs the package umap-learn.
        value_label : str
            Label of the scale of colours.
        random_state : int, RandomState instance or None
            Seed of UMAP.
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        EmbeddingMapDisplay
            The display, which has drawn itself.

        Raises
        ------
        ImportError
            If UMAP is asked for and not installed.
        ValueError
            If there are fewer than three crystals, or as many values as no crystals.
        """
        check_choice("method", method, METHODS)
        check_text("value_label", value_label)
        table = as_floats("embeddings", embeddings, n_dims=(2,), allow_missing=False)
        if len(table) < 3:
            raise ValueError(f"There are {len(table)} crystals; a map needs 3 at least.")
        if values is not None and _is_text(values):
            values = as_labels("values", values, n_rows=len(table))
        elif values is not None:
            values = as_floats("values", values, n_rows=len(table), n_dims=(1,))
        project = _principal_components if method == "pca" else _umap
        coordinates, labels = project(table, random_state)
        return cls(coordinates, values, axis_labels=labels, value_label=value_label).plot(ax)

    def plot(self, ax: Any = None) -> "EmbeddingMapDisplay":
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on; those of a new figure by default.

        Returns
        -------
        EmbeddingMapDisplay
            The display.
        """
        axes = axes_to_draw_on(ax, type(self).__name__, (5.6, 4.6))
        coordinates = np.asarray(self.coordinates)
        size = float(np.clip(4000 / len(coordinates), 3, 25))
        style: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.8}
        if self.values is None:
            self.points_ = axes.scatter(*coordinates.T, color=BLUE, **style)
        else:
            values = to_numpy("values", self.values, len(coordinates))
            plot = self._plot_classes if _is_text(values) else self._plot_values
            plot(axes, coordinates, values, style)
        axes.set_xlabel(self.axis_labels[0])
        axes.set_ylabel(self.axis_labels[1])
        axes.set(xticks=[], yticks=[])
        self.ax_, self.figure_ = axes, axes.figure
        return self

    def _plot_classes(
        self, axes: Any, coordinates: np.ndarray, values: np.ndarray, style: dict[str, Any]
    ) -> None:
        classes, codes = np.unique(values.astype(str), return_inverse=True)
        colors = _class_colors(len(classes))
        self.points_ = axes.scatter(*coordinates.T, c=colors[codes], **style)
        # Empty series, for the legend alone.
        for name, color in zip(classes, colors, strict=True):
            axes.scatter([], [], color=color, label=plain(name))
        axes.legend(frameon=False, title=plain(self.value_label) or None)

    def _plot_values(
        self, axes: Any, coordinates: np.ndarray, values: np.ndarray, style: dict[str, Any]
    ) -> None:
        from matplotlib import colormaps

        values = values.astype(float)
        missing = np.isnan(values)
        # Grey points lie below: they have no value to hide.
        axes.scatter(*coordinates[missing].T, color=GREY, **{**style, "alpha": 0.3})
        shown = values[~missing]
        low, high = np.percentile(shown, [2, 98]) if len(shown) else (0.0, 1.0)
        self.points_ = axes.scatter(
            *coordinates[~missing].T,
            c=shown,
            cmap=colormaps["viridis"].resampled(N_COLORS),
            vmin=low,
            vmax=high,
            **style,
        )
        # Outliers would leave all other points with one colour.
        beyond = {(False, False): "neither", (True, False): "min", (False, True): "max"}
        extend = beyond.get((bool((shown < low).any()), bool((shown > high).any())), "both")
        bar = axes.figure.colorbar(
            self.points_, ax=axes, label=plain(self.value_label), extend=extend
        )
        bar.solids.set(rasterized=False, edgecolor="face")  # vectors, as all else on a page


def _class_colors(n_classes: int) -> np.ndarray:
    """Return one colour for each class, (n, 4): shades of a map where a palette has too few."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba_array

    if n_classes <= len(COLORS):
        return np.asarray(to_rgba_array(COLORS[:n_classes]))
    return np.asarray(colormaps["turbo"](np.linspace(0.05, 0.95, n_classes)))


def _is_text(values: Any) -> bool:
    """Return whether values are labels of classes: text, or truth values."""
    array = to_numpy("values", values, None)
    return array.dtype.kind in "USb" or isinstance(next(iter(array.flat), None), str)


def _principal_components(table: np.ndarray, _: Any) -> tuple[np.ndarray, tuple[str, str]]:
    """Return the first two principal components ``(n, 2)``, and labels with their variances."""
    centred = table - table.mean(axis=0)
    scores, sizes, _vectors = np.linalg.svd(centred, full_matrices=False)
    total = float(np.square(sizes).sum()) or 1.0
    coordinates = np.zeros((len(table), 2))
    n_components = min(2, len(sizes))
    coordinates[:, :n_components] = scores[:, :n_components] * sizes[:n_components]
    fractions = np.zeros(2)
    fractions[:n_components] = np.square(sizes[:n_components]) / total
    first, second = (
        f"{name} component ({100 * fraction:.0f} % of the variance)"
        for name, fraction in zip(("first", "second"), fractions, strict=True)
    )
    return coordinates, (first, second)


def _umap(table: np.ndarray, random_state: Any) -> tuple[np.ndarray, tuple[str, str]]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "method='umap' needs umap-learn: pip install umap-learn. method='pca' needs nothing."
        ) from error
    coordinates = UMAP(random_state=random_state).fit_transform(table)
    return np.asarray(coordinates, dtype=float), ("UMAP 1", "UMAP 2")
