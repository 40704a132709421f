"""The crystals of a fit: graphs, targets, and the rows of its parts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnpre._labels import label_codes
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.graphs import CrystalGraphs, all_rows
from gnnpre.objectives import Objective, PropertyTargets, Targets

from ._elements import warn_of_unseen_elements
from ._finetuning_settings import FineTuningSettings
from ._inputs import add_sample_weight, as_graphs, warn_of_isolated_atoms
from ._network import split_rows
from ._pretrained import PretrainedWeights
from ._size_check import warn_of_extensive_targets

__all__ = ["FitData", "Rows", "prepare_data"]


@dataclass(frozen=True)
class Rows:
    """Rows of X, as index arrays.

    Parameters
    ----------
    used : ndarray of int
        Rows that are not held out: ``train``, ``valid``, and rows that a splitter uses in neither.
    train, valid : ndarray of int
        Rows to train on, and to validate on.
    calibration : ndarray of int
        Rows that are held out for the uncertainties, and have a weight.
    """

    used: np.ndarray
    train: np.ndarray
    valid: np.ndarray
    calibration: np.ndarray


@dataclass(frozen=True)
class FitData:
    """All crystals of a fit; rows choose among them, and no graph is copied.

    Parameters
    ----------
    graphs : CrystalGraphs
        The crystals.
    targets : Targets
        Their labels, with weights where there are some.
    rows : Rows
        Rows of training, validation and calibration.
    groups : ndarray of int of shape (n,) or None
        Groups that splits and left-out predictions keep together.
    seed : int
        Seed of the fit.
    """

    graphs: CrystalGraphs
    targets: Targets
    rows: Rows
    groups: np.ndarray | None
    seed: int

    @property
    def properties(self) -> np.ndarray:
        """Labels of :class:`~gnnpre.objectives.PropertyTargets`, ``(n, k)``, NaN where missing."""
        values: np.ndarray = self.targets.crystal["properties"].cpu().numpy()
        return values

    def weighted(self, rows: np.ndarray) -> np.ndarray:
        """Return those of the rows whose crystals have a weight."""
        return rows[self.targets.weights[rows] > 0]


def prepare_data(
    settings: FineTuningSettings,
    pretrained: PretrainedWeights | None,
    X: Any,
    y: Any,
    objective: Objective,
    groups: Any,
    sample_weight: Any,
    seed: int,
) -> FitData:
    """Build graphs and targets of a fit, and split its crystals.

    Parameters
    ----------
    settings : FineTuningSettings
        Parameters of the estimator.
    pretrained : PretrainedWeights or None
        The model that reads the graphs, if it exists already.
    X : CrystalGraphs of shape (n,), or n structures
        The crystals.
    y : ndarray
        Their labels.
    objective : Objective
        Config of the labels.
    groups : array-like of shape (n,), optional
        Groups that splits keep together.
    sample_weight : array-like of shape (n,), optional
        Weights of the crystals.
    seed : int
        Seed of the fit.

    Returns
    -------
    FitData
        The crystals.

    Raises
    ------
    ValueError, TypeError
        If crystals, labels, groups, weights or a fraction are not as expected.
    """
    graphs = _graphs_for(pretrained, X)
    targets = add_sample_weight(objective.make_targets(graphs, y), sample_weight)
    codes = None if groups is None else label_codes("groups", groups, n_rows=len(graphs))
    rows = _split(settings, targets, codes, seed)
    warn_of_extensive_targets(objective, graphs, targets, rows.used)
    data = FitData(graphs, targets, rows, codes, seed)
    if isinstance(objective, PropertyTargets):
        _warn_of_unlabelled(data)
    return data


def _graphs_for(pretrained: PretrainedWeights | None, X: Any) -> CrystalGraphs:
    """Return X as graphs that the model can read, and warn of elements new to it."""
    graphs = as_graphs(X, None if pretrained is None else pretrained.graph_settings)
    warn_of_isolated_atoms(graphs)
    if pretrained is not None:
        warn_of_unseen_elements(graphs, pretrained.elements)
    return graphs


def _warn_of_unlabelled(data: FitData) -> None:
    """Warn of properties that no crystal held out for calibration has."""
    held_out = data.rows.calibration
    if not len(held_out):
        return
    unlabelled = np.flatnonzero(np.isnan(data.properties[held_out]).all(axis=0))
    for column in unlabelled:
        warn_user(
            f"y has no value in column {column} among the {len(held_out)} crystals that "
            "calibration_fraction holds out: its standard deviations are NaN, and it has no "
            "intervals. Raise calibration_fraction, or hold out other crystals.",
            DataQualityWarning,
        )


def _split(
    settings: FineTuningSettings, targets: Targets, groups: np.ndarray | None, seed: int
) -> Rows:
    """Split all crystals into rows for training, validation and calibration."""
    everything = all_rows(len(targets))
    used, calibration = split_rows(
        everything, settings.calibration_fraction, groups, seed + 1, "calibration_fraction"
    )
    if not targets.weights[used].any():
        raise ValueError(
            "sample_weight is zero for all crystals that calibration_fraction leaves to train "
            "on. Lower it, or give more crystals a weight."
        )
    # Errors of crystals without a weight would count in intervals as much as all others.
    weighted = calibration[targets.weights[calibration] > 0]
    if len(calibration) and not len(weighted):
        raise ValueError(
            "sample_weight is zero for all crystals that calibration_fraction holds out. Raise it, "
            "or give more crystals a weight."
        )
    train, valid = split_rows(used, settings.validation_fraction, groups, seed)
    return Rows(used, train, valid, weighted)
