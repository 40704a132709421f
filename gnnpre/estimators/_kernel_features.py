"""Features in a form in which Euclidean distances mean something."""

from collections.abc import Sequence

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
        blocks = [X.shape[1]] if self.blocks is None else list(self.blocks)
        if sum(blocks) != X.shape[1] or min(blocks, default=0) < 1:
            raise ValueError(
                f"blocks={self.blocks!r}; expected positive numbers of columns that add up to the "
                f"{X.shape[1]} columns of X."
            )
        self._quantiles = QuantileTransformer(
            n_quantiles=min(N_QUANTILES, len(X)), output_distribution="normal", random_state=0
        ).fit(X)
        largest = max(blocks)
        self._scale = np.concatenate([np.full(size, np.sqrt(largest / size)) for size in blocks])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the mapped features, ``(n, d)``."""
        mapped: np.ndarray = np.clip(self._quantiles.transform(X), -LARGEST, LARGEST) * self._scale
        return mapped
