"""Models without a network, for every table: a weak baseline flatters all other rows."""

from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnpre.estimators import SINGLE_PRECISION, KernelRegressor
from gnnpre.fingerprints import EAD, Composition
from gnnpre.foundation import FoundationFeatures

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
    tables = _tables(name, data)
    table, blocks = np.hstack(tables), [block.shape[1] for block in tables]
    # Unlike networks, no baseline stops by validation: for the test it may learn from both.
    both = np.concatenate([split.train, split.valid])
    predictions = []
    for train, test in ((split.train, split.valid), (both, split.test)):
        model = _model(name, blocks, job.parameters["random_state"], workspace.threads)
        model.fit(table[train], data.y[train])
        predictions.append(np.asarray(model.predict(table[test]), dtype=np.float64))
    return predictions[0], predictions[1]


def _tables(name: str, data: LoadedData) -> list[np.ndarray]:
    """Return the blocks of features of a baseline."""
    if name == "mean":
        return [np.zeros((len(data), 1))]
    composition, fingerprint = Composition(), EAD(pooling="cumulants")
    transformers: list[Any] = [fingerprint, composition]  # both, where the name mentions none
    if name.endswith("composition"):
        transformers = [composition]
    elif name.endswith("fingerprint"):
        transformers = [fingerprint]
    elif name.endswith("chgnet"):
        # Stored by content: each crystal is computed once for all runs.
        potential = FoundationFeatures("chgnet", layer=(2, -1), pooling="cumulants")
        transformers = [potential, composition]
    return [np.asarray(transformer.fit_transform(data.structures)) for transformer in transformers]


def _model(name: str, blocks: list[int], seed: int, n_jobs: int) -> Any:
    if name == "mean":
        return DummyRegressor()
    if name.startswith("svr"):
        return SupportVectors(random_state=seed)
    if name.startswith("kernel"):
        return KernelRegressor(blocks=blocks, resolution=SINGLE_PRECISION, random_state=seed)
    if name.startswith("ridge"):
        return make_pipeline(StandardScaler(), RidgeCV(ALPHAS, cv=5))
    trees = ExtraTreesRegressor if name == "extra_trees" else RandomForestRegressor
    forest = trees(N_TREES, max_features=1 / 3, random_state=seed, n_jobs=n_jobs)
    # scikit-learn's trees stop at a variance below 2e-16, whatever the unit of the target.
    return TransformedTargetRegressor(forest, transformer=StandardScaler())
