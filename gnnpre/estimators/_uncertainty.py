"""How sure a trained regressor is: last-layer statistics, conformal intervals, distances."""

import math
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from gnnpre.backbones import Readout
from gnnpre.graphs import CrystalBatch, CrystalGraphs
from gnnpre.objectives import ObjectiveModel
from gnnpre.training import predict_batches

__all__ = ["Calibration", "LastLayer", "TrainingCloud", "last_layer_features"]


def last_layer_features(model: ObjectiveModel, graphs: CrystalGraphs) -> np.ndarray:
    """Give what the last linear layer of the readout is applied to, and what goes with its bias."""
    head = cast(Readout, model.head)

    def features(batch: CrystalBatch) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"features": head.last_features(model.backbone(batch).scalars, batch)}

    rows = [part["features"] for part in predict_batches(model, graphs, features)]
    table = np.concatenate(rows).astype(np.float64)
    sums = head.pooling == "sum" and head.order == "late"
    ones = graphs.atom_counts[:, None] if sums else np.ones((len(table), 1))
    return np.hstack([table, ones])


@dataclass(frozen=True)
class LastLayer:
    """Covariance of the last layer's features in training, and the scale of errors beside it.

    The variance of a prediction is ``scale^2 f . C f``, as for a Bayesian linear model on these
    features (F. Bigi, S. Chong, M. Ceriotti and F. Grasselli, "A prediction rigidity formalism for
    low-cost uncertainties in trained neural networks", Mach. Learn.: Sci. Technol. 5, 045018,
    2024).
    """

    factor: list[list[float]]  # (H, H), Cholesky factor of the regularised F^T F
    scale: list[float]  # (k,), in the unit of each property

    @classmethod
    def fit(cls, train: np.ndarray, calibration: np.ndarray, residuals: np.ndarray) -> "LastLayer":
        """Take the covariance from the training part, and scales from residuals elsewhere."""
        gram = train.T @ train
        # Directions that training never saw are as uncertain as the weakest it saw.
        gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
        factor = np.linalg.cholesky(gram)
        leverage = _leverage(factor, calibration)
        scale = [_scale(column, leverage) for column in residuals.T]
        return cls(factor.tolist(), scale)

    def std(self, features: np.ndarray) -> np.ndarray:
        """Give the standard deviation of each prediction, ``(n, k)``."""
        leverage = _leverage(np.array(self.factor), features)
        result: np.ndarray = np.sqrt(leverage)[:, None] * np.array(self.scale)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)


def _leverage(factor: np.ndarray, features: np.ndarray) -> np.ndarray:
    """``f . C f`` of each row, ``(n,)``."""
    from scipy.linalg import solve_triangular

    solved = solve_triangular(factor, features.T, lower=True)
    return (solved * solved).sum(axis=0)


def _scale(residuals: np.ndarray, leverage: np.ndarray) -> float:
    """Maximum-likelihood scale of Gaussian residuals with variances proportional to leverage."""
    known = np.isfinite(residuals)
    return float(np.sqrt(np.mean(residuals[known] ** 2 / leverage[known])))


@dataclass(frozen=True)
class Calibration:
    """Sorted scores of crystals that neither trained nor validated: split conformal prediction.

    Scores are absolute errors, over the standard deviations where there are some.
    """

    scores: list[list[float]]  # k lists

    @classmethod
    def fit(cls, residuals: np.ndarray, std: np.ndarray | None) -> "Calibration":
        """Take the scores of the residuals ``(n, k)`` that are there."""
        scores = np.abs(residuals) if std is None else np.abs(residuals) / std
        return cls([np.sort(column[np.isfinite(column)]).tolist() for column in scores.T])

    def quantiles(self, confidence: float) -> np.ndarray:
        """Give the score that covers a new crystal with this probability, for each property."""
        found = []
        for column in self.scores:
            rank = math.ceil((len(column) + 1) * confidence)
            if rank > len(column):
                needed = math.ceil(confidence / (1.0 - confidence))
                raise ValueError(
                    f"confidence={confidence} needs at least {needed} crystals to calibrate with; "
                    f"there are {len(column)}. Raise calibration_fraction, or lower confidence."
                )
            found.append(column[rank - 1])
        return np.array(found)

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingCloud:
    """Mean and covariance of the embeddings of the training part."""

    mean: list[float]  # (C,)
    factor: list[list[float]]  # (C, C), Cholesky factor of the covariance
    unit: float  # the median distance in training

    @classmethod
    def fit(cls, table: np.ndarray) -> "TrainingCloud":
        """Take them from embeddings ``(n, C)``, the covariance shrunk as Ledoit and Wolf do."""
        from sklearn.covariance import LedoitWolf

        table = table.astype(np.float64)
        covariance = LedoitWolf().fit(table).covariance_
        # Of one crystal, or of crystals that are all alike, the covariance is zero.
        scale = np.trace(covariance) / len(covariance) or 1.0
        covariance += 1e-9 * scale * np.eye(len(covariance))
        factor = np.linalg.cholesky(covariance)
        distances = np.sqrt(_leverage(factor, table - table.mean(axis=0)))
        unit = float(np.median(distances)) or 1.0
        return cls(table.mean(axis=0).tolist(), factor.tolist(), unit)

    def distance(self, table: np.ndarray) -> np.ndarray:
        """Give Mahalanobis distances in units of the median in training."""
        centred = table.astype(np.float64) - np.array(self.mean)
        result: np.ndarray = np.sqrt(_leverage(np.array(self.factor), centred)) / self.unit
        return result

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return asdict(self)
