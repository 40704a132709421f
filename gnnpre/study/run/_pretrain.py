"""Pre-trainings: from sources to weights in the folder."""

from pathlib import Path
from typing import Any

import numpy as np

from gnnpre.datasets import reduced_formula
from gnnpre.estimators import Pretrainer
from gnnpre.graphs import CrystalGraphs

from ..plan._job import Job
from ._pools import labels_for, read_pool
from ._workspace import Workspace

__all__ = ["formulas_of", "pretrain"]


def pretrain(job: Job, workspace: Workspace) -> dict[str, Any]:
    """Do a pre-training; give what its record says of the result.

    The weights are in their place before there is a record, so a record's weights are there.
    """
    workspace.release()
    tools = job.tools
    pool = read_pool(tools["declared"], tools["files"], tools["leaks"], workspace.threads)
    objective = tools["declared"].objective
    y = labels_for(objective, pool, tools["declared"].targets)
    graphs = tools["graphs"].fit_transform(pool.structures)
    n_leaks, settings = pool.n_leaks, tools["settings"]
    del pool
    pretrainer = Pretrainer(
        tools["backbone"],
        objective,
        **settings,
        random_state=job.parameters["random_state"],
        checkpoint_dir=str(workspace.folder.checkpoints(job.key)),
        resume=True,
        device=workspace.device,
    )
    pretrainer.fit(graphs, y, groups=formulas_of(graphs))
    _keep_epochs(pretrainer, job, workspace)
    path = workspace.folder.pretrained(job.key)
    pretrainer.save(path)
    return _result(pretrainer, path, n_leaks)


def formulas_of(graphs: CrystalGraphs) -> np.ndarray:
    """Give the reduced formula of each crystal: those of one are on one side of a split."""
    ends = np.cumsum(graphs.atom_counts)[:-1]
    numbers = np.split(graphs.atomic_numbers.cpu().numpy(), ends)
    return np.array([reduced_formula(each) for each in numbers], dtype=object)


def _keep_epochs(pretrainer: Pretrainer, job: Job, workspace: Workspace) -> None:
    for epoch, path in pretrainer.checkpoints_.items():
        kept = workspace.folder.pretrained(job.key, epoch)
        Pretrainer.load(path).save(kept)


def _result(pretrainer: Pretrainer, path: Path, n_leaks: int) -> dict[str, Any]:
    return {
        "target": None,
        "unit": None,
        "metrics": None,
        "validation": None,
        "test_indices": [],
        "targets": [],
        "predictions": [],
        "history": pretrainer.history_,
        "epochs": len(pretrainer.history_),
        "n_train": pretrainer.data_["n_train"],
        "n_valid": pretrainer.data_["n_valid"],
        "n_test": None,
        "n_leaks_dropped": n_leaks,
        "pretrained": f"pretrained/{path.name}",
    }
