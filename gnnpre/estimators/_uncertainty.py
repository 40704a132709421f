"""Uncertainty of a trained regressor: last-layer statistics, conformal intervals, distances."""

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

from ._blending import crystals_for_confidence
from ._diagnosis import predict_rows
from ._embedding import embed_graphs
from ._fit_data import FitData
from ._network import TrainedNetwork

__all__ = [
    "Calibration",
    "LastLayer",
    "TrainingCloud",
    "calibrate",
    "last_layer_features",
    "spread_factors",
]


def calibrate(network: TrainedNetwork, data: FitData) -> dict[str, Any]:
    """Learn from held-out crystals how large errors are.

    Parameters
    ----------
    network : TrainedNetwork
        The trained network, which learns by :class:`~gnnpre.objectives.PropertyTargets`.
    data : FitData
        The crystals, of which some were held out.

    Returns
    -------
    dict
        The fields of :class:`LastLayer` (unless the readout is not linear in its last layer),
        :class:`Calibration` and :class:`TrainingCloud`, JSON-serializable.
    """
    model, objective = network.net.module_, network.record.spec.objective
    graphs, held_out = data.graphs, data.rows.calibration
    train = data.weighted(data.rows.train)
    residuals = predict_rows(model, objective, graphs, held_out) - data.properties[held_out]
    learnt: dict[str, Any] = {}
    std = None
    head = cast(Readout, model.head)
    # A late readout that takes the largest value of atoms is not linear in pooled features.
    if head.pooling != "max" or head.order == "early":
        tables = [last_layer_features(model, graphs, rows) for rows in (train, held_out)]
        layer = LastLayer.fit(tables[0], tables[1], residuals)
        learnt["last_layer"] = layer.to_dict()
        std = layer.std(tables[1])
    learnt["calibration"] = Calibration.fit(residuals, std).to_dict()
    learnt["cloud"] = TrainingCloud.fit(embed_graphs(model, graphs, rows=train)).to_dict()
    return learnt


def last_layer_features(
    model: ObjectiveModel, graphs: CrystalGraphs, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return the inputs of the readout's last linear layer, with a column for its bias.

    Parameters
    ----------
    model : ObjectiveModel
        The model.
    graphs : CrystalGraphs
        The crystals.
    rows : ndarray of int, optional
        Some of them; all by default.

    Returns
    -------
    ndarray of shape (n, H + 1)
        The features in float64.
    """
    head = cast(Readout, model.head)

    def features(batch: CrystalBatch) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"features": head.last_features(model.backbone(batch).scalars, batch)}

    batches = predict_batches(model, graphs, features, rows)
    table = np.concatenate([batch["features"] for batch in batches]).astype(np.float64)
    # A late readout that sums adds its bias once for each atom.
    sums = head.pooling == "sum" and head.order == "late"
    counts = graphs.atom_counts if rows is None else graphs.atom_counts[rows]
    return np.hstack([table, counts[:, None] if sums else np.ones((len(table), 1))])


@dataclass(frozen=True)
class LastLayer:
    """Covariance of the last layer's features in training, and the scale of the errors.

    The variance of a prediction is ``scale^2 f . C f``, as for a Bayesian linear model on these
    features (F. Bigi, S. Chong, M. Ceriotti and F. Grasselli, "A prediction rigidity formalism for
    low-cost uncertainties in trained neural networks", Mach. Learn.: Sci. Technol. 5, 045018,
    2024).
    """

    factor: list[list[float]]  # (H, H), Cholesky factor of the regularised F^T F
    scale: list[float]  # (k,), in the unit of each property

    @classmethod
    def fit(cls, train: np.ndarray, calibration: np.ndarray, residuals: np.ndarray) -> "LastLayer":
        """Estimate the covariance on the training rows, and the scales on held-out residuals."""
        gram = train.T @ train
        # Directions that training never saw are as uncertain as the weakest it saw.
        gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
        factor = np.linalg.cholesky(gram)
        leverage = _leverage(factor, calibration)
        scale = [_scale(column, leverage) for column in residuals.T]
        return cls(factor.tolist(), scale)

    def std(self, features: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each prediction, ``(n, k)``."""
        leverage = _leverage(np.array(self.factor), features)
        result: np.ndarray = np.sqrt(leverage)[:, None] * np.array(self.scale)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-serializable."""
        return asdict(self)


def _leverage(factor: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return ``f . C f`` of each row, ``(n,)``."""
    from scipy.linalg import solve_triangular

    solved = solve_triangular(factor, features.T, lower=True)
    return (solved * solved).sum(axis=0)


def _scale(residuals: np.ndarray, leverage: np.ndarray) -> float:
    """Return the likeliest scale of Gaussian residuals whose variances follow the leverage.

    It is NaN where no label was held out: nothing says how large errors are.
    """
    labelled = np.isfinite(residuals)
    if not labelled.any():
        return np.nan
    return float(np.sqrt(np.mean(residuals[labelled] ** 2 / leverage[labelled])))


@dataclass(frozen=True)
class Calibration:
    """Sorted scores of crystals that neither trained nor validated: split conformal prediction.

    Scores are absolute errors, divided by the standard deviations where there are some.
    """

    scores: list[list[float]]  # k lists

    @classmethod
    def fit(cls, residuals: np.ndarray, std: np.ndarray | None) -> "Calibration":
        """Compute the scores of residuals ``(n, k)``, NaN where a label is missing."""
        scores = np.abs(residuals)
        if std is not None:
            # A target that is constant in training has no deviations: a residual is beyond all.
            scores = np.divide(scores, std, out=np.where(scores > 0, np.inf, scores), where=std > 0)
        return cls([np.sort(column[~np.isnan(column)]).tolist() for column in scores.T])

    def quantiles(self, confidence: float) -> np.ndarray:
        """Return the score that covers a new crystal with this probability, for each property."""
        quantiles = []
        for number, column in enumerate(self.scores):
            rank = math.ceil((len(column) + 1) * confidence)
            if rank > len(column):
                needed = crystals_for_confidence(confidence)
                where = f" with a label in column {number} of y" if len(self.scores) > 1 else ""
                raise ValueError(
                    f"confidence={confidence} needs at least {needed} crystals{where} to calibrate "
                    f"with; there are {len(column)}. Raise calibration_fraction, or lower "
                    "confidence."
                )
            quantiles.append(column[rank - 1])
        return np.array(quantiles)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-serializable."""
        return asdict(self)


def spread_factors(residuals: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Return factors of deviations that bring 68.3 % of residuals within one of them, ``(k,)``."""
    scores = [np.array(column) for column in Calibration.fit(residuals, std).scores]
    return np.array([_spread_factor(column) for column in scores])


def _spread_factor(scores: np.ndarray) -> float:
    """Return the factor for residuals over deviations; NaN without any, as nothing was held out."""
    # No factor makes a deviation of zero honest: infinite scores count in intervals alone.
    finite = scores[np.isfinite(scores)]
    if len(finite):
        return float(np.quantile(finite, 0.683))
    return 1.0 if len(scores) else np.nan


@dataclass(frozen=True)
class TrainingCloud:
    """Mean and covariance of the embeddings of the training crystals."""

    mean: list[float]  # (C,)
    factor: list[list[float]]  # (C, C), Cholesky factor of the covariance
    unit: float  # the median distance in training

    @classmethod
    def fit(cls, table: np.ndarray) -> "TrainingCloud":
        """Compute both from embeddings ``(n, C)``, with the shrinkage of Ledoit and Wolf."""
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
        """Return Mahalanobis distances in units of the median in training."""
        centred = table.astype(np.float64) - np.array(self.mean)
        result: np.ndarray = np.sqrt(_leverage(np.array(self.factor), centred)) / self.unit
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-serializable."""
        return asdict(self)
