"""Features in a form in which Euclidean distances mean something."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import QuantileTransformer

__all__ = ["KernelFeatures"]

N_QUANTILES = 200
# Normal quantiles beyond this come from one or two rows.
LARGEST = 3.0


class KernelFeatures:
    """Map each feature to a normal distribution, and weight blocks of features equally.

    Descriptors such as cumulants span many decades; standardised, a few extreme crystals would
    decide all distances.

    Parameters
    ----------
    blocks : sequence of int, optional
        Numbers of columns of the blocks; one block by default.
    """

    def __init__(self, blocks: Sequence[int] | None = None) -> None:
        self.blocks = blocks

    def fit(self, X: np.ndarray) -> "KernelFeatures":
        """Learn the quantiles of each column of ``X`` (n, d)."""
        blocks = self._check_blocks(X.shape[1])
        self._quantiles = QuantileTransformer(
            n_quantiles=min(N_QUANTILES, len(X)), output_distribution="normal", random_state=0
        ).fit(X)
        largest = max(blocks)
        self._scale = np.concatenate([np.full(size, np.sqrt(largest / size)) for size in blocks])
        return self

    def _check_blocks(self, n_columns: int) -> list[int]:
        if self.blocks is None:
            return [n_columns]
        is_sequence = hasattr(self.blocks, "__iter__") and not isinstance(self.blocks, type)
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
        """Return the mapped features, ``(n, d)``."""
        mapped: np.ndarray = np.clip(self._quantiles.transform(X), -LARGEST, LARGEST) * self._scale
        return mapped
