"""Models as programs of PyTorch: equal predictions for crystals of any number and size."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

from gnnpre import (
    CGCNN,
    ForceField,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    SchNet,
    TorchMDNet,
)
from gnnpre.estimators import export_model

SMALL = {"max_epochs": 1, "batch_size": 8, "random_state": 0}
BACKBONES = {
    "cgcnn": CGCNN(8, 2, batch_norm=True, aggregation="mean"),
    "torchmdnet": TorchMDNet(8, 2),
    "schnet": SchNet(8, 2),
}


def tensors(graphs):
    batch = graphs.batch(dtype=torch.float32)
    return batch.atomic_numbers, batch.n_atoms, batch.edge_index, batch.edge_vectors


def run(program, graphs):
    with torch.no_grad():
        return program.module()(*tensors(graphs)).numpy()


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_programs_predict_the_same_for_any_number_of_crystals(data, backbone, tmp_path):
    model = PropertyRegressor(backbone, bounds=(0, None), **SMALL).fit(data.graphs, data.y)
    torch.export.save(export_model(model), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2")
    for rows in ([0], [3, 4], range(20)):
        graphs = data.graphs[list(rows)]
        np.testing.assert_allclose(run(program, graphs)[:, 0], model.predict(graphs), rtol=1e-5)


def test_values_of_atoms_and_tensors(data):
    y = [np.arange(len(s), dtype=float) for s in data.structures]
    model = PropertyRegressor(CGCNN(8, 1), target="atom", **SMALL).fit(data.graphs, y)
    expected = np.concatenate(list(model.predict(data.graphs)))
    np.testing.assert_allclose(run(export_model(model), data.graphs), expected, rtol=1e-5)
    y = np.random.default_rng(0).normal(size=(20, 6))
    model = PropertyRegressor(TorchMDNet(8, 1), target="tensor", **SMALL).fit(data.graphs, y)
    program = export_model(model)
    expected = model.predict(data.graphs)
    np.testing.assert_allclose(run(program, data.graphs), expected, rtol=1e-4, atol=1e-5)


def test_scores_of_classes(data):
    classes = data.y > np.median(data.y)
    model = PropertyClassifier(CGCNN(8, 1), **SMALL).fit(data.graphs, classes)
    scores = run(export_model(model), data.graphs)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, model.predict_proba(data.graphs), rtol=1e-5)


def test_force_fields_are_refused(data):
    model = Pretrainer(CGCNN(8, 1), ForceField(), **SMALL).fit(data.graphs, data.labels)
    with pytest.raises(ValueError, match="learnt ForceField, which has no single label"):
        export_model(model)


def test_kernel_machines_are_refused(data, pretrained):
    model = PropertyRegressor(pretrained=FrozenEstimator(pretrained), strategy="kernel")
    model.set_params(random_state=0).fit(data.graphs, data.y)
    with pytest.raises(ValueError, match="A kernel machine takes part"):
        export_model(model)
