"""A small data set, and small models, for the tests of the estimators."""

from types import SimpleNamespace

import numpy as np
import pytest

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_frames

SMALL = {"max_epochs": 2, "batch_size": 8, "random_state": 0}


@pytest.fixture(scope="session")
def data():
    """Frames as structures and graphs, their labels, and a property: the volume of an atom."""
    structures, labels = make_emt_frames(20, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    volume = np.array([structure.volume / len(structure) for structure in structures])
    return SimpleNamespace(structures=structures, graphs=graphs, labels=labels, y=volume)


@pytest.fixture(scope="session")
def pretrained(data) -> Pretrainer:
    """A pre-trained model, not to be changed by a test."""
    backbone = CGCNN(8, 1, batch_norm=True)
    return Pretrainer(backbone, ForceField(), **SMALL, learning_rate=0.01).fit(
        data.graphs, data.labels
    )


@pytest.fixture
def pretrainer() -> Pretrainer:
    return Pretrainer(CGCNN(8, 1), ForceField(), **SMALL)


@pytest.fixture
def regressor() -> PropertyRegressor:
    return PropertyRegressor(CGCNN(8, 1), **SMALL)
