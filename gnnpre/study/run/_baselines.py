"""Models without a network, for every table: a weak baseline flatters all other rows."""

from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnpre.fingerprints import EAD, Composition

from ..plan._data import LoadedData
from ..plan._job import Job
from ..plan._protocols import Split
from ._support_vectors import SupportVectors
from ._workspace import Workspace

__all__ = ["evaluate_baseline"]

ALPHAS = np.logspace(-4, 4, 17)
N_TREES = 300


def evaluate_baseline(
    job: Job, workspace: Workspace, data: LoadedData, split: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a baseline and return its predictions for validation and test.

    It is validated after training on the training crystals, and tested after training on those
    and the validation crystals, which it needs for nothing else.
    """
    name = job.parameters["model"]
    table = _table(name, data)
    both = np.concatenate([split.train, split.valid])
    predictions = []
    for train, test in ((split.train, split.valid), (both, split.test)):
        model = _model(name, job.parameters["random_state"], workspace.threads)
        model.fit(table[train], data.y[train])
        predictions.append(np.asarray(model.predict(table[test]), dtype=np.float64))
    return predictions[0], predictions[1]


def _table(name: str, data: LoadedData) -> np.ndarray:
    if name == "mean":
        return np.zeros((len(data), 1))
    if name.endswith("composition"):
        return np.asarray(Composition().fit_transform(data.structures))
    fingerprint = np.asarray(EAD(pooling="cumulants").fit_transform(data.structures))
    if name.endswith("fingerprint"):
        return fingerprint
    return np.hstack([fingerprint, Composition().fit_transform(data.structures)])


def _model(name: str, seed: int, n_jobs: int) -> Any:
    if name == "mean":
        return DummyRegressor()
    if name == "svr":
        return SupportVectors(seed)
    if name.startswith("ridge"):
        return make_pipeline(StandardScaler(), RidgeCV(ALPHAS, cv=5))
    trees = ExtraTreesRegressor if name == "extra_trees" else RandomForestRegressor
    forest = trees(N_TREES, max_features=1 / 3, random_state=seed, n_jobs=n_jobs)
    # scikit-learn's trees stop at a variance below 2e-16, whatever the unit of the target.
    return TransformedTargetRegressor(forest, transformer=StandardScaler())
