"""Regressors that know how sure they are, from crystals that were held out."""

from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gnnpre._validation import check_number
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Targets
from gnnpre.training import predict_batches, split_train_valid

from ._replaying import ReplayingEstimator
from ._uncertainty import Calibration, LastLayer, TrainingCloud, last_layer_features

__all__ = ["CalibratedRegressor"]


class CalibratedRegressor(ReplayingEstimator):
    """Base class: holds crystals out, and gives deviations, intervals and distances for them."""

    _kept: ClassVar[tuple[str, ...]] = ("transferred_", "diagnosis_", "uncertainty_", "y_ndim_")

    def _hold_out(
        self, graphs: CrystalGraphs, targets: Targets, groups: Any, seed: int
    ) -> tuple[CrystalGraphs, Targets, Any, tuple[CrystalGraphs, Targets]]:
        kept, held = split_train_valid(
            len(graphs), self.calibration_fraction, groups, seed + 1, "calibration_fraction"
        )
        parts = [
            Targets(graphs.atom_counts[rows], {k: v[rows] for k, v in targets.crystal.items()})
            for rows in (kept, held)
        ]
        weights = parts[0].crystal.get("sample_weight")
        if weights is not None and not weights.any():
            raise ValueError(
                "sample_weight is zero for all crystals that calibration_fraction leaves to train "
                "on. Lower it, or give more crystals a weight."
            )
        if groups is not None:
            groups = (
                [groups[row] for row in kept]
                if isinstance(groups, (list, tuple))
                else (np.asarray(groups)[kept])
            )
        return graphs[kept], parts[0], groups, (graphs[held], parts[1])

    def _calibrate(self, trained: CrystalGraphs, graphs: CrystalGraphs, targets: Targets) -> None:
        self.uncertainty_: dict[str, Any] = {}
        if len(graphs) == 0:
            return
        residuals = self._predict_values(graphs) - targets.crystal["properties"].cpu().numpy()
        model, std = self._model(), None
        if self.pooling != "max" or self.readout == "early":
            tables = [last_layer_features(model, part) for part in (trained, graphs)]
            layer = LastLayer.fit(tables[0], tables[1], residuals)
            self.uncertainty_["last_layer"] = layer.to_dict()
            std = layer.std(tables[1])
        self.uncertainty_["calibration"] = Calibration.fit(residuals, std).to_dict()
        self.uncertainty_["cloud"] = TrainingCloud.fit(self._embed(trained)).to_dict()

    def _learnt(self, name: str) -> dict[str, Any]:
        """Give a part of ``uncertainty_``."""
        check_is_fitted(self, "net_")
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
        part: dict[str, Any] = self.uncertainty_[name]
        return part

    def _predict_values(self, graphs: CrystalGraphs) -> np.ndarray:
        """Predict graphs that were checked: ``(n, k)``."""
        parts = predict_batches(self._model(), graphs)
        return np.asarray(self.spec_.objective.collect(parts, graphs.atom_counts), dtype=np.float64)

    def _like_y(self, values: np.ndarray) -> np.ndarray:
        return values[:, 0] if self.y_ndim_ == 1 else values

    def _values_and_std(self, X: Any, with_std: bool) -> tuple[np.ndarray, np.ndarray]:
        """Predict part by part: ``(n, k)``, and the standard deviations where they are wanted."""
        layer = LastLayer(**self._learnt("last_layer")) if with_std else None
        values, stds = [], []
        for graphs in self._parts_to_predict(X):
            values.append(self._predict_values(graphs))
            if layer is not None:
                stds.append(layer.std(last_layer_features(self._model(), graphs)))
        return np.concatenate(values), np.concatenate(stds or values)

    def predict_interval(self, X: Any, confidence: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Predict intervals that hold the property with some probability (split conformal).

        The probability holds on average over crystals from where those in ``fit`` came from,
        whatever the model (V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random
        World", 2005). Intervals are wider where standard deviations are larger.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        confidence : float
            The probability, between 0 and 1.

        Returns
        -------
        lower, upper : ndarray of shape (n,) or (n, k)
            Ends of the intervals.

        Raises
        ------
        ValueError
            If there was no ``calibration_fraction``, or too few crystals in it for this
            confidence.
        """
        check_number("confidence", confidence, high=1.0 - 1e-9)
        quantiles = Calibration(**self._learnt("calibration")).quantiles(confidence)
        known = "last_layer" in self.uncertainty_
        values, std = self._values_and_std(X, known)
        half = quantiles * (std if known else np.ones_like(values))
        return self._like_y(values - half), self._like_y(values + half)

    def distance(self, X: Any) -> np.ndarray:
        """Tell how far crystals are from those of the training, in the space of embeddings.

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
            If there was no ``calibration_fraction``.
        """
        cloud = TrainingCloud(**self._learnt("cloud"))
        return cloud.distance(self.embed(X))
