"""Pre-trainings: from sources to weights in the folder."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._atomic import replace_file
from gnnpre.datasets import reduced_formula
from gnnpre.estimators import Pretrainer
from gnnpre.graphs import CrystalGraphs
from gnnpre.pretrained import describe_pretrained, resolve_model
from gnnpre.training import to_spec

from ..plan._job import Job
from ._audit import write_keys
from ._pools import labels_for
from ._workspace import Workspace

__all__ = ["formulas_of", "pretrain"]


def pretrain(job: Job, workspace: Workspace) -> dict[str, Any]:
    """Run a pre-training and return the results for its record.

    The weights are written before the record, so the weights of every record exist; and before
    them the leak keys, by which data sets are audited.
    """
    if "model" in job.tools:
        return _take_model(job, workspace)
    workspace.release()
    tools = job.tools
    # 1. crystals and labels
    pool = workspace.pool(job)
    objective = tools["declared"].objective
    y = labels_for(objective, pool, tools["declared"].targets)
    workspace.note(f"building graphs of {len(pool)} crystals ({pool.n_leaks} left out as leaks)")
    graphs = tools["graphs"].fit_transform(pool.crystals)
    n_leaks, settings = pool.n_leaks, tools["settings"]
    write_keys(job, workspace.folder, pool)
    del pool
    # 2. training, from the last state of an interrupted one
    pretrainer = Pretrainer(
        tools["backbone"],
        objective,
        **settings,
        random_state=job.parameters["random_state"],
        checkpoint_dir=str(workspace.folder.checkpoints(job.key)),
        resume=True,
        device=workspace.device,
        callbacks=workspace.epoch_callbacks(job, job.parameters["settings"]["max_epochs"]),
    )
    pretrainer.fit(graphs, y, groups=formulas_of(graphs))
    # 3. weights; the lines about epochs are of this process and no part of the model
    pretrainer.set_params(callbacks=None)
    _save_epochs(pretrainer, job, workspace)
    path = workspace.folder.pretrained(job.key)
    pretrainer.save(path)
    return {**_result(pretrainer, path), "n_leaks_dropped": n_leaks}


def _take_model(job: Job, workspace: Workspace) -> dict[str, Any]:
    """Copy a model of the package into the folder, which then has all that a report needs."""
    source = resolve_model(job.tools["model"])
    path = workspace.folder.pretrained(job.key)
    with replace_file(path) as new:
        shutil.copyfile(source, new)
    pretrainer = Pretrainer.load(path)
    training = describe_pretrained(source).metadata["training"]
    return {
        **_result(pretrainer, path),
        "history": [],  # its time was spent before the study
        "epochs": training.get("epochs"),
        "hours_of_model": training.get("CPU hours"),
        "objective": to_spec(pretrainer.spec_.objective, "objective"),
    }


def formulas_of(graphs: CrystalGraphs) -> np.ndarray:
    """Return the reduced formula of each crystal, the groups of a split."""
    ends = np.cumsum(graphs.atom_counts)[:-1]
    numbers = np.split(graphs.atomic_numbers.cpu().numpy(), ends)
    return np.array([reduced_formula(each) for each in numbers], dtype=object)


def _save_epochs(pretrainer: Pretrainer, job: Job, workspace: Workspace) -> None:
    for epoch, path in pretrainer.checkpoints_.items():
        Pretrainer.load(path).save(workspace.folder.pretrained(job.key, epoch))


def _result(pretrainer: Pretrainer, path: Path) -> dict[str, Any]:
    return {
        "target": None,
        "unit": None,
        "metrics": None,
        "validation": None,
        "test_indices": [],
        "targets": [],
        "predictions": [],
        "history": pretrainer.history_,
        "epochs": len(pretrainer.history_) or None,
        "n_train": pretrainer.data_["n_train"],
        "n_valid": pretrainer.data_["n_valid"],
        "n_test": None,
        "pretrained": f"pretrained/{path.name}",
    }
