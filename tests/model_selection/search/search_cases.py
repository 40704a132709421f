"""Searches on tiny data, for the tests and for the processes that they start and kill."""

from types import SimpleNamespace

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.storages.journal import JournalFileBackend
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property
from gnnpre.model_selection import PruningSearchCV

EPOCHS = 3
RATE = "propertyregressor__learning_rate"
SPACE = {RATE: FloatDistribution(1e-4, 1e-1, log=True)}


class PruneFrom(optuna.pruners.BasePruner):
    """Prunes every trial from a step on, or from a step and a trial number on."""

    def __init__(self, step, trial=0):
        self.step = step
        self.trial = trial

    def prune(self, study, trial):
        return trial.number >= self.trial and trial.last_step >= self.step


def make_data(n=20):
    return make_emt_property(n, max_atoms=4, random_state=0)


def make_cases():
    """Structures, their graphs and a property."""
    structures, y = make_data()
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    return SimpleNamespace(structures=structures, graphs=graphs, y=np.asarray(y))


def make_pipe(**params):
    settings = {"max_epochs": EPOCHS, "validation_fraction": 0.2, "random_state": 0, **params}
    return make_pipeline(StructureToGraph(cutoff=4.0), PropertyRegressor(CGCNN(8, 1), **settings))


def make_search(estimator=None, space=None, **settings):
    settings = {"cv": 2, "n_trials": 3, "random_state": 0, **settings}
    return PruningSearchCV(estimator or make_pipe(), space or SPACE, **settings)


def make_storage(kind, folder):
    if kind == "sqlite":
        return f"sqlite:///{folder}/study.db"
    return optuna.storages.JournalStorage(JournalFileBackend(f"{folder}/study.log"))
