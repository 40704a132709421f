"""Rows of a network: fine-tuned, frozen under a kernel machine, or in an ensemble."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.model_selection import PredefinedSplit

from gnnpre.estimators import PropertyEnsemble, PropertyRegressor
from gnnpre.graphs import CrystalGraphs

from ..plan._data import LoadedData
from ..plan._job import Job
from ..plan._protocols import Split
from ._folder import StudyFolder
from ._workspace import Workspace

__all__ = [
    "Fit",
    "fit_blended",
    "fit_ensemble",
    "fit_kernel",
    "fit_network",
    "mean_of_members",
    "predict",
]


@dataclass(frozen=True)
class Fit:
    """Predictions of one model, its history and details for the record."""

    valid: np.ndarray | None
    test: np.ndarray
    history: list[dict[str, Any]] = field(default_factory=list)
    details: Mapping[str, Any] = field(default_factory=dict)


def fit_network(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Train a network, from random or pre-trained weights."""
    regressor, graphs = _train(job, workspace, data, split)
    valid, test = (predict(regressor, graphs[rows]) for rows in (split.valid, split.test))
    return Fit(valid, test, regressor.history_, _details(regressor))


def fit_blended(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Train a network, and blend it with a kernel machine on the weights that it started from.

    The machine learns from the validation crystals, too. The validation error is that of the
    blend of the network with predictions of each crystal from all others.
    """
    regressor, graphs = _train(job, workspace, data, split)
    shares = {name: float(np.squeeze(share)) for name, share in regressor.weights_.items()}
    details = {**_details(regressor), "member_weights": shares}
    # Missing where too few crystals validate.
    if (mae := regressor.diagnosis_.get("blend")) is not None:
        details["validation"] = {"mae": mae, "of": "left-out predictions"}
    return Fit(None, predict(regressor, graphs[split.test]), regressor.history_, details)


def _train(
    job: Job, workspace: Workspace, data: LoadedData, split: Split
) -> tuple[PropertyRegressor, CrystalGraphs]:
    """Return the fitted regressor of a row, and the graphs of all crystals."""
    graphs = workspace.graphs(data, job.tools["graphs"])
    # Training crystals first, then those that validate: see _last.
    both = np.concatenate([split.train, split.valid])
    start: dict[str, Any] = {"backbone": job.tools["backbone"]}
    if job.needs:
        start = {"pretrained": _weights(job, workspace)}
    regressor = PropertyRegressor(
        **start,
        **job.tools["finetuning"],
        validation_fraction=_last(len(both), len(split.valid)),
        random_state=job.parameters["random_state"],
        checkpoint_dir=str(workspace.folder.checkpoints(job.key)),
        resume=True,
        device=workspace.device,
        callbacks=workspace.epoch_callbacks(job, job.parameters["finetuning"]["max_epochs"]),
    )
    return regressor.fit(graphs[both], data.y[both]), graphs


def _details(regressor: PropertyRegressor) -> dict[str, Any]:
    return {"transferred": len(regressor.transferred_), "diagnosis": regressor.diagnosis_}


def _last(n: int, n_last: int) -> PredefinedSplit:
    """Split so that exactly the last crystals validate."""
    return PredefinedSplit(np.where(np.arange(n) < n - n_last, -1, 0))


def _weights(job: Job, workspace: Workspace) -> str:
    return str(workspace.weights(job.needs[0], job.parameters["epoch"]))


def predict(regressor: Any, X: Any) -> np.ndarray:
    """Predict numbers ``(n,)``."""
    return np.asarray(regressor.predict(X), dtype=np.float64).reshape(-1)


def fit_kernel(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Fit a kernel machine to frozen embeddings, once for validation and once for the test.

    It chooses its hyper-parameters within the crystals that it is fitted to, and needs no
    validation crystals: for the test it learns from these, too, as baselines do.
    """
    graphs = workspace.graphs(data, job.tools["graphs"])
    both = np.concatenate([split.train, split.valid])
    predictions = []
    for train, test in ((split.train, split.valid), (both, split.test)):
        regressor = PropertyRegressor(
            pretrained=_weights(job, workspace),
            strategy="kernel",
            **job.tools["finetuning"],
            random_state=job.parameters["random_state"],
            device=workspace.device,
        )
        regressor.fit(graphs[train], data.y[train])
        predictions.append(predict(regressor, graphs[test]))
    valid, tested = predictions
    return Fit(valid, tested, details={"transferred": len(regressor.transferred_)})


def fit_ensemble(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Fit an ensemble to training and validation crystals.

    Its folds validate: the validation error is that of the blend on crystals that each member
    had left out, so that the ensemble is fitted once.
    """
    graphs = workspace.graphs(data, job.tools["graphs"])
    both = np.concatenate([split.train, split.valid])
    ensemble = PropertyEnsemble(
        _weights(job, workspace),
        **job.tools["finetuning"],
        random_state=job.parameters["random_state"],
        device=workspace.device,
    )
    ensemble.fit(graphs[both], data.y[both])
    details = {
        "validation": {"mae": ensemble.errors_["blend"], "of": "left-out predictions"},
        "member_weights": ensemble.weights_,
        "member_errors": ensemble.errors_,
    }
    return Fit(None, predict(ensemble, graphs[split.test]), details=details)


def mean_of_members(job: Job, folder: StudyFolder) -> Fit:
    """Average the predictions of several rows, or of networks with different seeds."""
    records = [folder.read_record(member.key) for member in job.needs]
    valid = np.mean([record["validation"]["predictions"] for record in records], axis=0)
    test = np.mean([record["predictions"] for record in records], axis=0)
    return Fit(valid, test, details={"members": [member.key for member in job.needs]})
