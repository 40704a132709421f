"""Embeddings of layers, crystals and atoms."""

import copy
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from gnnpre import Denoising, Pretrainer, PropertyClassifier, PropertyRegressor, TorchMDNet
from gnnpre.backbones import AtomFeatures, Backbone, BackboneModule

BACKBONES = {"cgcnn": None, "torchmdnet": TorchMDNet(8, 2, n_heads=2, n_radial=8)}


@pytest.fixture(scope="module", params=BACKBONES)
def model(request, data):
    settings = {"max_epochs": 1, "random_state": 0}
    return Pretrainer(BACKBONES[request.param], Denoising(), **settings).fit(data.graphs)


def test_last_layer_is_what_the_backbone_gives(model, data):
    batch = data.graphs.batch()
    with torch.no_grad():
        expected = model.net_.module_.backbone(batch).scalars.numpy()
    found = model.embed(data.structures, pooling=None)
    assert [len(rows) for rows in found] == [len(s) for s in data.structures]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-5, atol=1e-6)


def test_first_layer_sees_the_element_alone(model, data):
    if type(model.spec_.backbone) is TorchMDNet:
        pytest.skip("its first features see the neighbours already")
    rows = np.concatenate(model.embed(data.graphs, layer=0, pooling=None))
    numbers = data.graphs.atomic_numbers.numpy()
    for z in np.unique(numbers):
        same = rows[numbers == z]
        np.testing.assert_allclose(same, np.broadcast_to(same[0], same.shape), rtol=1e-5)


@pytest.mark.parametrize("argument", ["layer", "pooling"])
def test_an_array_is_no_choice(model, data, argument):
    with pytest.raises(ValueError, match=f"{argument}=.*expected"):
        model.embed(data.graphs, **{argument: np.array([0, 1])})


def test_layers_differ_and_are_counted(model, data):
    n_layers = model.net_.module_.backbone.n_layers
    found = [model.embed(data.graphs, layer=k) for k in range(n_layers + 1)]
    assert all(not np.allclose(a, b) for a, b in pairwise(found))
    for wrong in (n_layers + 1, -2, 1.5, True):
        with pytest.raises(
            ValueError, match=f"layer={wrong}; expected an int from -1 to {n_layers}"
        ):
            model.embed(data.graphs, layer=wrong)


@pytest.mark.parametrize("pooling", ["mean", "sum", "max", "cumulants"])
def test_poolings(model, data, pooling):
    atoms = model.embed(data.graphs, pooling=None)
    central = {
        "mean": lambda rows: rows.mean(axis=0),
        "sum": lambda rows: rows.sum(axis=0),
        "max": lambda rows: rows.max(axis=0),
        "cumulants": lambda rows: np.concatenate(
            [rows.mean(axis=0), *(((rows - rows.mean(axis=0)) ** k).mean(axis=0) for k in (2, 3))]
        ),
    }
    expected = np.array([central[pooling](rows) for rows in atoms])
    np.testing.assert_allclose(
        model.embed(data.graphs, pooling=pooling), expected, rtol=1e-4, atol=1e-5
    )


def test_unknown_pooling(model, data):
    with pytest.raises(ValueError, match="pooling='median'"):
        model.embed(data.graphs, pooling="median")


@pytest.mark.parametrize("kind", [PropertyRegressor, PropertyClassifier])
def test_fine_tuned_models_embed_too(kind, data):
    y = data.y if kind is PropertyRegressor else data.y > np.median(data.y)
    estimator = kind(max_epochs=1, random_state=0).fit(data.graphs, y)
    table = estimator.set_output(transform="pandas").transform(data.structures)
    assert table.columns.tolist() == estimator.get_feature_names_out().tolist()
    assert table.columns[0] == "cgcnn0"
    ridge = make_pipeline(FrozenEstimator(estimator.set_output(transform="default")), Ridge())
    assert ridge.fit(data.structures, data.y).predict(data.structures).shape == data.y.shape


@pytest.mark.parametrize(("layer", "pooling"), [(-1, "mean"), (1, "max"), (0, "cumulants")])
def test_transform_follows_the_parameters(model, data, layer, pooling):
    chosen = copy.copy(model).set_params(embedding_layer=layer, embedding_pooling=pooling)
    expected = model.embed(data.graphs, layer=layer, pooling=pooling)
    np.testing.assert_array_equal(chosen.transform(data.graphs), expected)
    names = chosen.get_feature_names_out()
    assert len(names) == len(set(names)) == expected.shape[1]


def test_transform_gives_a_table(model, data):
    for wrong in (None, "median"):
        chosen = copy.copy(model).set_params(embedding_pooling=wrong)
        with pytest.raises(ValueError, match=f"embedding_pooling={wrong!r}"):
            chosen.transform(data.graphs)


@pytest.mark.parametrize("layer", [-1, 0, 1, 2])
def test_threads_do_not_mix_up_their_crystals(model, data, layer):
    # Parts of equal numbers of atoms: features of another thread would fit in shape.
    parts = [data.graphs[[index]] for index in range(len(data.graphs))] * 20
    expected = [model.embed(part, layer=layer) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        embeddings = list(pool.map(lambda part: model.embed(part, layer=layer), parts))
    for rows, expected_rows in zip(embeddings, expected, strict=True):
        np.testing.assert_allclose(rows, expected_rows, rtol=1e-5, atol=1e-6)


class Updates(Backbone):
    """A backbone of one's own, whose layers return updates and whose list has another name."""

    def __init__(self, form="generator", channels=4):
        self.form = form
        self.channels = channels

    def build(self, cutoff, mean_neighbors=1.0):
        module = {"generator": UpdatesModule, "forward": ForwardModule, "short": ShortModule}
        return module[self.form](self.channels)


class UpdatesModule(BackboneModule):
    def __init__(self, channels):
        super().__init__(channels, 100)
        self.start = torch.nn.Embedding(101, channels)
        self.rounds = torch.nn.ModuleList(torch.nn.Linear(channels, channels) for _ in range(2))

    def layer_features(self, batch):
        x = self.start(batch.atomic_numbers)
        yield AtomFeatures(x)
        for update in self.rounds:
            sums = torch.zeros_like(x).index_add(0, batch.target, torch.tanh(x)[batch.source])
            x = x + update(sums)
            yield AtomFeatures(x)

    def layer_patterns(self):
        return [("*",), ("rounds.0.*",), ("rounds.1.*",)]


class ShortModule(UpdatesModule):
    def layer_patterns(self):
        return [*super().layer_patterns(), ("none.*",)]


class ForwardModule(UpdatesModule):
    """As a user may have it who knows of ``forward`` alone."""

    layer_features = BackboneModule.layer_features

    def forward(self, batch):
        *_, last = UpdatesModule.layer_features(self, batch)
        return last


def test_layers_that_return_updates_without_a_list_of_layers(data):
    model = PropertyRegressor(Updates(), max_epochs=1, random_state=0).fit(data.graphs, data.y)
    backbone, batch = model.net_.module_.backbone, data.graphs.batch()
    with torch.no_grad():
        x = backbone.start(batch.atomic_numbers)
        sums = torch.zeros_like(x).index_add(0, batch.target, torch.tanh(x)[batch.source])
        expected = x + backbone.rounds[0](sums)
    rows = np.concatenate(model.embed(data.graphs, layer=1, pooling=None))
    np.testing.assert_allclose(rows, expected.numpy(), rtol=1e-5, atol=1e-6)
    last = model.embed(data.graphs, layer=2)
    np.testing.assert_allclose(last, model.embed(data.graphs), rtol=1e-6)


def test_a_backbone_without_features_of_its_layers_says_so(data):
    settings = {"max_epochs": 1, "random_state": 0}
    model = PropertyRegressor(Updates("forward"), **settings).fit(data.graphs, data.y)
    assert model.embed(data.graphs).shape == (len(data.graphs), 4)
    with pytest.raises(ValueError, match=r"layer=1; expected -1. ForwardModule .*layer_features"):
        model.embed(data.graphs, layer=1)
    with pytest.raises(NotImplementedError, match="ForwardModule implements no layer_features"):
        model.net_.module_.backbone.layer_features(data.graphs.batch())


def test_layers_that_are_named_and_not_yielded_are_an_error(data):
    settings = {"max_epochs": 1, "random_state": 0}
    model = PropertyRegressor(Updates("short"), **settings).fit(data.graphs, data.y)
    with pytest.raises(ValueError, match=r"layer=3: .*ShortModule yields fewer than 4"):
        model.embed(data.graphs, layer=3)
