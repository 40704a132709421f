"""Methods of a regressor that say how far its predictions can be trusted."""

from typing import Any, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gnnpre._validation import check_number
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Bounds, PropertyTargets

from ._base import CrystalEstimator
from ._blended_head import BlendedHead
from ._diagnosis import predict_rows
from ._kernel_head import KernelHead, KernelPredictions
from ._uncertainty import Calibration, LastLayer, TrainingCloud, last_layer_features

__all__ = ["UncertainPredictions"]


class UncertainPredictions(CrystalEstimator):
    """Base class of regressors: standard deviations, intervals and distances."""

    uncertainty_: dict[str, Any]
    kernel_: KernelHead | BlendedHead | None

    def predict_interval(self, X: Any, confidence: float = 0.9) -> tuple[Any, Any]:
        """Predict intervals that contain the property with some probability (conformal).

        The probability holds on average over crystals drawn as those of ``fit`` were,
        whatever the model (V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random
        World", 2005). Intervals are wider where standard deviations are larger. With
        ``strategy="kernel"`` and ``calibration_fraction=0`` the scores are those of the training
        crystals, each (or each group) predicted from all others.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        confidence : float
            The probability, between 0 and 1.

        Returns
        -------
        lower, upper : ndarray of shape (n,) or (n, k), or DataFrame
            Ends of the intervals, in the form that :meth:`predict` returns.

        Raises
        ------
        ValueError
            If there was no ``calibration_fraction`` (``strategy="kernel"`` needs none), or there
            are too few crystals to calibrate with for this confidence.
        """
        check_number("confidence", confidence, high=1.0, high_included=False)
        quantiles = Calibration(**self._uncertainty("calibration")).quantiles(confidence)
        has_std = not self.uncertainty_.keys().isdisjoint(("last_layer", "kernel_std"))
        values, std = self._values_and_std(X, has_std)
        # Quantiles are of errors over deviations, or of bare errors, where std is one.
        # An infinite one, of a target that was constant in training, meets deviations of zero.
        is_infinite = np.isinf(quantiles)
        half = np.where(is_infinite, np.inf, np.where(is_infinite, 0.0, quantiles) * std)
        bounds = self._bounds()
        lower, upper = bounds.clip(values - half), bounds.clip(values + half)
        return self._like_y(lower, X), self._like_y(upper, X)

    def distance(self, X: Any) -> np.ndarray:
        """Return how far crystals are from those of the training, in the space of embeddings.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.

        Returns
        -------
        ndarray of shape (n,)
            Mahalanobis distances in units of the median over the training crystals: about 1 for
            crystals like those, above 2 or 3 where a prediction is an extrapolation.

        Raises
        ------
        ValueError
            If there was no ``calibration_fraction``; ``strategy="kernel"`` needs none.
        """
        cloud = TrainingCloud(**self._uncertainty("cloud"))
        return cloud.distance(self.embed(X))

    def _like_y(self, values: np.ndarray, X: Any) -> Any:
        """Return values ``(n, k)`` of crystals in the form of y."""
        raise NotImplementedError

    def _bounds(self) -> Bounds:
        # Numbers of crystals alone have uncertainties and kernel machines.
        return Bounds.of(cast(PropertyTargets, self.spec_.objective).bounds)

    def _values_and_std(self, X: Any, with_std: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions ``(n, k)``, and standard deviations, ones if not ``with_std``."""
        pairs = [self._predict_pair(graphs, with_std) for graphs in self._stream_to_predict(X)]
        values, stds = zip(*pairs, strict=True)
        return np.concatenate(values), np.concatenate(stds)

    def _predict_with_kernel(
        self, kernel: KernelHead | BlendedHead, graphs: CrystalGraphs
    ) -> KernelPredictions:
        """Return predictions of the machine, or of machine and network, before clipping."""
        if isinstance(kernel, BlendedHead):
            return kernel.predict(self._model(), graphs)
        return kernel.predict(graphs)

    def _predict_pair(self, graphs: CrystalGraphs, with_std: bool) -> tuple[np.ndarray, np.ndarray]:
        model = self._model()
        if self.kernel_ is not None:
            values, std = self._predict_with_kernel(self.kernel_, graphs)
            # Factors measured on crystals left out bring the deviations to the size of errors.
            factors = np.array(self._uncertainty("kernel_std")["factors"])
            return self._bounds().clip(values), std * factors
        values = predict_rows(model, self.spec_.objective, graphs, np.arange(len(graphs)))
        if not with_std:
            return values, np.ones_like(values)
        layer = LastLayer(**self._uncertainty("last_layer"))
        return values, layer.std(last_layer_features(model, graphs))

    def _uncertainty(self, name: str) -> dict[str, Any]:
        """Return one entry of ``uncertainty_``, or raise ValueError with the way to get it."""
        check_is_fitted(self, "net_")
        if not isinstance(self.spec_.objective, PropertyTargets):
            raise ValueError("Uncertainties are available only for models with target='crystal'.")
        if not self.uncertainty_:
            raise ValueError(
                "This model was fitted with calibration_fraction=0 and does not know how sure it "
                "is: set calibration_fraction, to 0.1 for example, and fit it again."
            )
        if name not in self.uncertainty_:
            raise ValueError(
                "pooling='max' of a late readout is not linear in its last layer, which standard "
                "deviations need. Use another pooling, readout='early', or predict_interval."
            )
        entry: dict[str, Any] = self.uncertainty_[name]
        return entry
