"""Evaluations: train on the training crystals, validate, test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import PredefinedSplit

from gnnpre.estimators import KernelRegressor, Pretrainer, PropertyRegressor
from gnnpre.fingerprints import Composition

from ..plan._data import LoadedData
from ..plan._job import Job
from ..plan._protocols import Split, split_data
from ._baselines import evaluate_baseline
from ._folder import StudyFolder
from ._metrics import metrics
from ._workspace import Workspace

__all__ = ["RecipeContext", "evaluate", "split_of"]


@dataclass(frozen=True)
class RecipeContext:
    """Seed, files and device for the estimator of a :class:`Recipe`.

    Parameters
    ----------
    random_state : int
        Seed of the run.
    pretrained : mapping of str to str
        Files of the pre-trainings that it declared in ``needs``, by name.
    device : str
        Where to train.
    n_jobs : int
        Threads or processes it may use.

    Examples
    --------
    >>> from gnnpre.study import RecipeContext
    >>> RecipeContext(random_state=0, pretrained={}, device="cpu", n_jobs=1).random_state
    0
    """

    random_state: int
    pretrained: Mapping[str, str]
    device: str
    n_jobs: int


@dataclass(frozen=True)
class Fit:
    """Predictions of one model, its history and details for the record."""

    valid: np.ndarray | None
    test: np.ndarray
    history: list[dict[str, Any]]
    details: dict[str, Any]


def evaluate(job: Job, workspace: Workspace) -> dict[str, Any]:
    """Run an evaluation and return the results for its record."""
    # 1. crystals and their split
    data = workspace.load(str(job.data))
    split = split_of(job, len(data))
    # 2. predictions, by the kind of model
    model = job.parameters["model"]
    if job.role == "ensemble":
        fit = _mean_of_members(job, workspace.folder)
    elif model == "recipe":
        fit = _fit_recipe(job, workspace, data, split)
    elif model == "probe":
        fit = _fit_probe(job, workspace, data, split)
    elif model == "finetune":
        fit = _fit_network(job, workspace, data, split)
    else:
        fit = Fit(*evaluate_baseline(job, workspace, data, split), [], {})
    # 3. errors, in the form of a record
    return _result(data, split, fit)


def split_of(job: Job, n: int) -> Split:
    """Return the training, validation and test crystals of an evaluation."""
    split = dict(job.parameters["split"])
    n_labels = job.parameters["data"]["n_labels"]
    return split_data(n, split.pop("protocol"), **split, n_labels=n_labels)


def _result(data: LoadedData, split: Split, fit: Fit) -> dict[str, Any]:
    validation = None
    if fit.valid is not None:
        validation = {
            **metrics(data.y[split.valid], fit.valid),
            "indices": split.valid,
            "predictions": fit.valid,
        }
    return {
        "target": data.target,
        "unit": data.unit,
        "metrics": metrics(data.y[split.test], fit.test),
        "validation": validation,
        "test_indices": split.test,
        "targets": data.y[split.test],
        "predictions": fit.test,
        "history": fit.history,
        "epochs": len(fit.history) or None,
        "n_train": len(split.train),
        "n_valid": len(split.valid),
        "n_test": len(split.test),
        **fit.details,
    }


def _fit_network(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Train a network, from random or pre-trained weights."""
    graphs = workspace.graphs(data, job.tools["graphs"])
    # Training crystals first, then those that validate: see _last.
    both = np.concatenate([split.train, split.valid])
    start: dict[str, Any] = {"backbone": job.tools["backbone"]}
    if job.needs:
        start = {"pretrained": workspace.weights(job.needs[0], job.parameters["epoch"])}
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
    regressor.fit(graphs[both], data.y[both])
    valid, test = (_predict(regressor, graphs[rows]) for rows in (split.valid, split.test))
    details = {"transferred": len(regressor.transferred_), "diagnosis": regressor.diagnosis_}
    return Fit(valid, test, regressor.history_, details)


def _last(n: int, n_last: int) -> PredefinedSplit:
    """Split so that exactly the last crystals validate."""
    return PredefinedSplit(np.where(np.arange(n) < n - n_last, -1, 0))


def _predict(regressor: Any, X: Any) -> np.ndarray:
    return np.asarray(regressor.predict(X), dtype=np.float64).reshape(-1)


def _fit_probe(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Fit a kernel machine to frozen embeddings and the composition."""
    graphs = workspace.graphs(data, job.tools["graphs"])
    path = workspace.weights(job.needs[0], job.parameters["epoch"])
    # Frozen: the embeddings depend on pre-training alone.
    pretrainer = Pretrainer.load(path).set_params(embedding_pooling="cumulants")
    blocks = [pretrainer.transform(graphs), Composition().fit_transform(data.structures)]
    table = np.hstack(blocks)
    machine = KernelRegressor(
        blocks=[block.shape[1] for block in blocks], random_state=job.parameters["random_state"]
    )
    machine.fit(table[split.train], data.y[split.train])
    valid, test = (_predict(machine, table[rows]) for rows in (split.valid, split.test))
    return Fit(valid, test, [], {"transform": machine.transforms_[0]})


def _fit_recipe(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Fit an estimator of the study's own on structures."""
    files = {needed.strategy: str(workspace.weights(needed)) for needed in job.needs}
    seed = job.parameters["random_state"]
    context = RecipeContext(seed, files, workspace.device, workspace.threads)
    estimator = job.tools["recipe"].make(context)
    estimator.fit(data.subset(split.train), data.y[split.train])
    valid, test = (_predict(estimator, data.subset(rows)) for rows in (split.valid, split.test))
    return Fit(valid, test, [], {})


def _mean_of_members(job: Job, folder: StudyFolder) -> Fit:
    """Average the predictions of networks that were trained with different seeds."""
    records = [folder.read_record(member.key) for member in job.needs]
    valid = np.mean([record["validation"]["predictions"] for record in records], axis=0)
    test = np.mean([record["predictions"] for record in records], axis=0)
    return Fit(valid, test, [], {"members": [member.key for member in job.needs]})
