"""Crystals and estimators of the tests of scikit-learn's tools.

With the variable ``GNNPRE_DATA`` set these are small crystals of MatBench's jdft2d and their
exfoliation energies; without it alloys and bulk moduli from effective medium theory.
"""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_frames, make_emt_property, read_matbench
from meta_estimators.settings import SMALL, N


def read_crystals(request):
    """Small structures and a property of each; real ones where the data are at hand."""
    if not os.environ.get("GNNPRE_DATA"):
        return make_emt_property(N, random_state=0)
    path = request.getfixturevalue("data_dir") / "downstream" / "jdft2d.json.gz"
    structures, y = read_matbench(path)
    small = [i for i, structure in enumerate(structures) if len(structure) <= 4][:N]
    return [structures[i] for i in small], y.to_numpy()[small]


@pytest.fixture(scope="module")
def data(request):
    structures, y = read_crystals(request)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    groups = np.repeat(np.arange(N // 2), 2)
    column = np.empty((N, 1), dtype=object)
    column[:, 0] = structures
    return SimpleNamespace(structures=structures, y=y, graphs=graphs, groups=groups, column=column)


@pytest.fixture(scope="module")
def frames():
    structures, labels = make_emt_frames(20, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    groups = np.repeat(np.arange(10), 2)
    return SimpleNamespace(structures=structures, graphs=graphs, y=labels, groups=groups)


@pytest.fixture
def pipeline():
    return make_pipeline(StructureToGraph(cutoff=4.0), PropertyRegressor(CGCNN(8, 1), **SMALL))
