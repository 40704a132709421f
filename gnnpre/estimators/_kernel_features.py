"""Features in a form in which Euclidean distances mean something."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.validation import validate_data

__all__ = ["SINGLE_PRECISION", "KernelFeatures", "as_table"]

N_QUANTILES = 200
# Normal quantiles beyond this come from one or two rows.
LARGEST = 3.0
#: Resolution of features that a network computes in single precision.
SINGLE_PRECISION = 1e-5


class KernelFeatures:
    """Map each feature to a normal distribution, and weight blocks of features equally.

    Descriptors such as cumulants span many decades; standardised, a few extreme crystals would
    decide all distances. Features that do not vary in training are left out: a new row that
    differs in one of them would be far from everything.

    Parameters
    ----------
    blocks : sequence of int, optional
        Numbers of columns of the blocks; one block by default.
    resolution : float
        Values are rounded to this share of the largest one of their feature. Features that are
        equal but for noise have quantiles like any others: third cumulants, say, which are zero
        where all atoms are equivalent.
    """

    def __init__(self, blocks: Sequence[int] | None = None, resolution: float = 0.0) -> None:
        self.blocks = blocks
        self.resolution = resolution

    def fit(self, X: np.ndarray) -> "KernelFeatures":
        """Learn the quantiles of each column of ``X`` (n, d)."""
        blocks = self._check_blocks(X.shape[1])
        self.steps = self.resolution * np.abs(X).max(axis=0)
        X = self._rounded(X)
        # A constant column has no quantiles; if all are constant, all stay.
        varies = np.ptp(X, axis=0) > 0
        self.columns = np.flatnonzero(varies) if varies.any() else np.arange(X.shape[1])
        block_of_column = np.repeat(np.arange(len(blocks)), blocks)[self.columns]
        sizes = np.bincount(block_of_column)
        self.sizes = tuple(int(size) for size in sizes[sizes > 0])
        self._set_quantiles(
            QuantileTransformer(
                n_quantiles=min(N_QUANTILES, len(X)), output_distribution="normal", random_state=0
            )
            .fit(X[:, self.columns])
            .quantiles_
        )
        return self

    def _check_blocks(self, n_columns: int) -> list[int]:
        if self.blocks is None:
            return [n_columns]
        is_sequence = isinstance(self.blocks, Iterable) and np.ndim(self.blocks) == 1
        blocks: list[Any] = list(self.blocks) if is_sequence else []
        if not all(isinstance(size, (int, np.integer)) and size > 0 for size in blocks) or (
            sum(blocks) != n_columns
        ):
            raise ValueError(
                f"blocks={self.blocks!r}; expected positive numbers of columns that add up to the "
                f"{n_columns} columns of X, or None."
            )
        return blocks

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the mapped features in single precision, ``(n, n_columns)``."""
        X = self._rounded(X)
        mapped = np.clip(self._mapping.transform(X[:, self.columns]), -LARGEST, LARGEST)
        scaled: np.ndarray = (mapped / np.sqrt(np.repeat(self.sizes, self.sizes))).astype(
            np.float32
        )
        return scaled

    def _rounded(self, X: np.ndarray) -> np.ndarray:
        if not self.steps.any():
            return X
        steps = np.where(self.steps > 0, self.steps, 1.0)
        return np.where(self.steps > 0, np.round(X / steps) * steps, X)

    def to_state(self) -> dict[str, np.ndarray]:
        """Return the arrays that :meth:`from_state` needs."""
        return {
            "columns": self.columns,
            "steps": self.steps,
            "sizes": np.array(self.sizes),
            "quantiles": self._mapping.quantiles_,
        }

    @classmethod
    def from_state(cls, arrays: dict[str, np.ndarray]) -> "KernelFeatures":
        """Return the fitted object that :meth:`to_state` described."""
        features = cls()
        features.columns, features.steps = arrays["columns"], arrays["steps"]
        features.sizes = tuple(int(size) for size in arrays["sizes"])
        if len(features.columns) != sum(features.sizes) or min(features.sizes, default=0) < 1:
            raise ValueError(f"features have blocks {features.sizes} that do not add up")
        if arrays["quantiles"].shape[1:] != features.columns.shape or features.columns.min() < 0:
            raise ValueError("features have quantiles or columns that do not fit")
        features._set_quantiles(arrays["quantiles"])
        return features

    def _set_quantiles(self, quantiles: np.ndarray) -> None:
        """Make the mapping from its quantiles, ``(n_quantiles, n_columns)``."""
        # Arrays, whatever sklearn.set_config(transform_output=...) asks of the user's transformers.
        mapping = QuantileTransformer(output_distribution="normal").set_output(transform="default")
        mapping.quantiles_ = quantiles
        mapping.n_quantiles_ = len(quantiles)
        mapping.references_ = np.linspace(0, 1, len(quantiles))
        mapping.n_features_in_ = quantiles.shape[1]
        self._mapping = mapping


def as_table(estimator: Any, X: Any, *, reset: bool) -> np.ndarray:
    """Return features as a table of floats, ``(n, d)``, after scikit-learn's checks of them.

    Parameters
    ----------
    estimator : estimator
        Whose number and names of features are set (``reset``) or compared.
    X : array-like of shape (n, d)
        The features.
    reset : bool
        Whether these are the features of a fit.

    Returns
    -------
    ndarray of shape (n, d)
        The table.

    Raises
    ------
    ValueError, TypeError
        If it is not a table of finite numbers.
    """
    try:
        table: np.ndarray = validate_data(estimator, X, dtype=np.float64, reset=reset)
    except (TypeError, ValueError) as error:
        # Those of NumPy name no argument; scikit-learn's do.
        of_numpy = ("could not convert", "setting an array element")
        if isinstance(error, ValueError) and not str(error).startswith(of_numpy):
            raise
        raise TypeError(
            f"X cannot be read as a table of numbers (n, d): {error}. A fingerprint with "
            "pooling=None returns a table for each crystal: pass pooling='mean' to it."
        ) from error
    return table
