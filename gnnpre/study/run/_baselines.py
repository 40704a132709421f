"""Models without a network, for every table: a weak baseline flatters all others."""

from typing import Any

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnpre.fingerprints import EAD, Composition

from ..plan._data import LoadedData
from ..plan._job import Job
from ..plan._protocols import Split
from ._workspace import Workspace

__all__ = ["evaluate_baseline"]

ALPHAS = np.logspace(-4, 4, 17)
N_TREES = 300


def evaluate_baseline(
    job: Job, workspace: Workspace, data: LoadedData, split: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a baseline; give its predictions for validation and test.

    It is validated after training on the training part, and tested after training on that and
    the validation part, which it needs for nothing else.
    """
    name = job.parameters["model"]
    table = _table(name, data)
    known = np.concatenate([split.train, split.valid])
    predicted = []
    for rows, wanted in ((split.train, split.valid), (known, split.test)):
        model = _model(name, job.parameters["random_state"], workspace.threads)
        model.fit(table[rows], data.y[rows])
        predicted.append(np.asarray(model.predict(table[wanted]), dtype=np.float64))
    return predicted[0], predicted[1]


def _table(name: str, data: LoadedData) -> np.ndarray:
    if name == "mean":
        return np.zeros((len(data), 1))
    if name.endswith("composition"):
        return np.asarray(Composition().fit_transform(data.structures))
    return np.asarray(EAD(pooling="cumulants").fit_transform(data.structures))


def _model(name: str, seed: int, n_jobs: int) -> Any:
    if name == "mean":
        return DummyRegressor()
    if name.startswith("ridge"):
        return make_pipeline(StandardScaler(), RidgeCV(ALPHAS, cv=5))
    return RandomForestRegressor(N_TREES, max_features=1 / 3, random_state=seed, n_jobs=n_jobs)
