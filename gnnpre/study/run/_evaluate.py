"""Evaluations: train on the training crystals, validate, test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..plan._data import LoadedData
from ..plan._job import Job
from ..plan._plan import MODELS
from ..plan._protocols import Split, split_data
from ._audit import write_audit
from ._baselines import evaluate_baseline
from ._fits import (
    Fit,
    fit_blended,
    fit_ensemble,
    fit_kernel,
    fit_network,
    mean_of_members,
    predict,
)
from ._metrics import metrics
from ._workspace import Workspace

__all__ = ["RecipeContext", "evaluate", "split_of"]

#: How rows of networks are fitted, by the name of their model.
FITS = {
    MODELS["finetune"]: fit_network,
    MODELS["blended"]: fit_blended,
    MODELS["kernel"]: fit_kernel,
    MODELS["ensemble"]: fit_ensemble,
}


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


def evaluate(job: Job, workspace: Workspace) -> dict[str, Any]:
    """Run an evaluation and return the results for its record."""
    # 1. crystals and their split
    data = workspace.load(str(job.data))
    split = split_of(job, len(data))
    # 2. predictions, by the kind of model
    model = job.parameters["model"]
    if job.role == "ensemble":
        fit = mean_of_members(job, workspace.folder)
    elif model in FITS:
        fit = FITS[model](job, workspace, data, split)
    elif model == "recipe":
        fit = _fit_recipe(job, workspace, data, split)
    else:
        fit = Fit(*evaluate_baseline(job, workspace, data, split))
    # 3. crystals that pre-trainings have seen
    for needed in job.needs:
        if needed.kind == "pretraining":
            write_audit(needed, data, workspace)
    # 4. errors, in the form of a record
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


def _fit_recipe(job: Job, workspace: Workspace, data: LoadedData, split: Split) -> Fit:
    """Fit an estimator of the study's own on structures."""
    files = {needed.strategy: str(workspace.weights(needed)) for needed in job.needs}
    seed = job.parameters["random_state"]
    context = RecipeContext(seed, files, workspace.device, workspace.threads)
    estimator = job.tools["recipe"].make(context)
    estimator.fit(data.subset(split.train), data.y[split.train])
    valid, test = (predict(estimator, data.subset(rows)) for rows in (split.valid, split.test))
    return Fit(valid, test)
