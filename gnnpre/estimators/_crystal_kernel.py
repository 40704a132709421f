"""A kernel machine on features of crystals, without a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre.graphs import as_crystals

from ._kernel_features import SINGLE_PRECISION
from ._kernel_head import FeatureBlocks, make_features
from ._kernel_regressor import KernelRegressor
from ._target_process import MachineState

__all__ = ["CrystalKernel"]


class CrystalKernel(RegressorMixin, BaseEstimator):
    """A :class:`KernelRegressor` on compositions and fingerprints of crystals.

    Parameters
    ----------
    features : sequence of {"composition", "fingerprint", "force_field"} or transformers
        The features, as ``PropertyRegressor(kernel_features=)`` takes them.
    random_state : int, RandomState instance or None
        Seed of the machine.
    """

    def __init__(
        self, features: Sequence[Any] = ("composition", "fingerprint"), *, random_state: Any = None
    ) -> None:
        self.features = features
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> "CrystalKernel":
        """Fit the machine to crystals and their property ``(n,)``; groups are left out whole."""
        crystals = as_crystals(X)
        self.features_ = FeatureBlocks(make_features(self.features)).fit(crystals)
        blocks = self.features_.compute(None, crystals)
        sizes = [block.shape[1] for block in blocks]
        self.machine_ = KernelRegressor(
            blocks=sizes, resolution=SINGLE_PRECISION, random_state=self.random_state
        )
        self.machine_.fit(np.hstack(blocks), y, sample_weight, groups)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the property of crystals, ``(n,)``."""
        check_is_fitted(self, "machine_")
        table = np.hstack(self.features_.compute(None, as_crystals(X)))
        return np.asarray(self.machine_.predict(table))

    def to_state(self) -> MachineState:
        """Return the fitted attributes as JSON and arrays."""
        state, arrays = self.machine_.to_state()
        values = {"features": self.features_.to_spec(), "machine": state}
        return values, add_prefix("kernel", arrays)

    def set_state(
        self,
        values: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        classes: Mapping[str, type],
    ) -> None:
        """Set the fitted attributes that :meth:`to_state` returned."""
        self.features_ = FeatureBlocks.from_spec(values["features"], classes)
        self.machine_ = KernelRegressor()
        self.machine_.set_state(values["machine"], select_prefix("kernel", arrays))
