"""CGCNN: its equation edge by edge, its parameters, and its constants in saved models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from sklearn.base import clone

from cases import BACKBONES, CUTOFF, MEAN_NEIGHBORS, SMALL, evaluate, make_model, random_structures
from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.backbones import AtomFeatures, Backbone, BackboneModule


@pytest.fixture(scope="module")
def batch():
    graphs = StructureToGraph(CUTOFF).transform(list(random_structures().values())[:2])
    return graphs.batch(dtype=torch.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def plain_features(module, config: CGCNN, batch) -> np.ndarray:
    """The equation of CGCNN's docstring, edge by edge, in NumPy."""
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    x = weights["embedding.linear.weight"].T[batch.atomic_numbers - 1]
    x = x + weights["embedding.linear.bias"]
    x = x * sigmoid(x)
    centers = np.linspace(0.0, CUTOFF, config.n_radial)
    sources, targets = batch.edge_index.numpy()
    for layer in range(config.n_layers):
        of_atoms = {name: weights[f"layers.{layer}.{name}.weight"] for name in ("target", "source")}
        w = np.concatenate([*of_atoms.values(), weights[f"layers.{layer}.edge.weight"]], axis=1)
        gathered = np.zeros_like(x)
        for source, target, vector in zip(sources, targets, batch.edge_vectors, strict=True):
            d = float(vector.norm())
            e = np.exp(-0.5 * ((d - centers) / (config.smearing_width * CUTOFF)) ** 2)
            z = w @ np.concatenate([x[target], x[source], e])
            gate, core = np.split(z + weights[f"layers.{layer}.target.bias"], 2)
            envelope = 0.5 * (1.0 + np.cos(np.pi * d / CUTOFF))
            gathered[target] += envelope * sigmoid(gate) * core * sigmoid(core)
        x = x + gathered / np.sqrt(MEAN_NEIGHBORS)
    return x


def test_equation(batch):
    config = BACKBONES["cgcnn_cosine"]
    module = make_model(config, ForceField()).backbone
    features = module(batch)
    assert isinstance(features, AtomFeatures)
    assert features.vectors is None
    expected = plain_features(module, config, batch)
    # The centres of a model that was built in float32 carry its rounding.
    np.testing.assert_allclose(features.scalars.detach(), expected, rtol=1e-5, atol=1e-5)


def test_only_edge_vectors_carry_geometry(batch):
    """Positions and cells that say something else change nothing."""
    module = make_model(CGCNN(**SMALL), ForceField()).backbone
    strange = replace(batch, positions=batch.positions * 0.0, cell=batch.cell * 3.0)
    assert torch.equal(module(batch).scalars, module(strange).scalars)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hidden_channels", [0, -1, 8.0, "8", True, None]),
        ("n_layers", [0, 2.5, None]),
        ("n_radial", [0, "many"]),
        ("smearing_width", [0.0, -0.1, 1e-300, 1e300, float("nan"), float("inf"), "wide"]),
        ("envelope", ["smooth", True, 6]),
        ("aggregation", ["max", None, ["mean"]]),
        ("activation", ["relu", None]),
        ("element_start", ["zeros", None]),
    ],
)
def test_bad_parameters_are_named_when_built(name, values):
    for value in values:
        config = CGCNN().set_params(**{name: value})
        with pytest.raises(ValueError, match=f"^{name}="):
            config.build(cutoff=CUTOFF)


def test_unknown_parameters_are_refused():
    with pytest.raises(TypeError, match="cutoff"):
        CGCNN(cutoff=5.0)
    with pytest.raises(ValueError, match="Invalid parameter 'channels'"):
        CGCNN().set_params(channels=8)


class TestConfig:
    def test_clone_keeps_parameters_only(self):
        config = CGCNN(hidden_channels=8, envelope=None)
        config.build(cutoff=CUTOFF)
        copy = clone(config)
        assert copy is not config
        assert copy.get_params() == config.get_params()
        assert vars(config).keys() == config.get_params().keys()

    def test_building_leaves_the_parameters_as_they_are(self):
        for config in BACKBONES.values():
            assert isinstance(config, Backbone)
            before = config.get_params()
            config.build(cutoff=CUTOFF)
            assert config.get_params() == before

    def test_numpy_numbers_from_a_search_are_taken(self):
        config = CGCNN(np.int64(8), np.int32(1), smearing_width=np.float32(0.1))
        assert config.build(CUTOFF).out_channels == 8

    def test_search_name_within_an_estimator(self):
        pretrainer = Pretrainer(CGCNN(), ForceField())
        pretrainer.set_params(backbone__hidden_channels=24, objective__forces=500)
        assert pretrainer.backbone.hidden_channels == 24
        assert pretrainer.objective.forces == 500
        assert {"backbone__n_layers", "objective__stress"} <= pretrainer.get_params().keys()


class TestBuild:
    @pytest.mark.parametrize("name", BACKBONES)
    def test_same_seed_same_weights(self, name):
        states = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            states.append(BACKBONES[name].build(CUTOFF, MEAN_NEIGHBORS).state_dict())
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])

    @pytest.mark.parametrize("name", BACKBONES)
    def test_out_channels(self, name, batch):
        module = BACKBONES[name].build(CUTOFF, MEAN_NEIGHBORS).double().eval()
        assert isinstance(module, BackboneModule)
        n_atoms = len(batch.atomic_numbers)
        assert module(batch).scalars.shape == (n_atoms, module.out_channels)
        assert module.out_channels == SMALL["hidden_channels"]
        assert module.n_elements == 100

    def test_split_layer_starts_as_one_linear_layer_would(self):
        torch.manual_seed(0)
        layer = CGCNN(hidden_channels=64, n_radial=50).build(CUTOFF).layers[0]
        bound = (2 * 64 + 50) ** -0.5
        for parameter in (*layer.target.parameters(), layer.source.weight, layer.edge.weight):
            assert 0.93 * bound < parameter.abs().max() <= bound


class TestMeanNeighbors:
    def test_is_kept_with_the_weights(self):
        state = CGCNN(**SMALL).build(CUTOFF, 17.5).state_dict()
        assert state["mean_neighbors"] == 17.5
        restored = CGCNN(**SMALL).build(CUTOFF, 3.0)
        restored.load_state_dict(state)
        assert restored.mean_neighbors == 17.5

    def test_its_root_divides_the_sum(self, batch):
        """Of the messages of one layer."""
        changes = []
        for mean_neighbors in (5.0, 20.0):
            torch.manual_seed(0)
            module = CGCNN(**{**SMALL, "n_layers": 1}).build(CUTOFF, mean_neighbors).double()
            start = torch.nn.functional.silu(module.embedding(batch.atomic_numbers))
            changes.append(module(batch).scalars - start)
        assert changes[0].abs().max() > 0.01
        torch.testing.assert_close(changes[0], 2.0 * changes[1])

    def test_mean_aggregation_takes_the_count_of_each_atom(self, batch):
        torch.manual_seed(0)
        parameters = {**SMALL, "n_layers": 1}
        mean = CGCNN(**parameters, aggregation="mean").build(CUTOFF).double()
        total = CGCNN(**parameters, aggregation="sum").build(CUTOFF).double()
        total.load_state_dict(mean.state_dict())
        start = torch.nn.functional.silu(mean.embedding(batch.atomic_numbers))
        counts = torch.bincount(batch.target)[:, None]
        assert len(counts.unique()) > 1
        torch.testing.assert_close(
            (mean(batch).scalars - start) * counts, total(batch).scalars - start
        )


def test_mean_with_an_envelope_still_jumps_when_a_neighbour_enters():
    """Why the default divides by a constant."""
    jumps = {}
    for aggregation in ("scaled_sum", "mean"):
        model = make_model(CGCNN(**SMALL, aggregation=aggregation), ForceField())
        energies = [
            evaluate(model, [Atoms("FeOO", [[0, 0, 0], [1.5, 0, 0], [0, CUTOFF + step, 0]])])
            for step in (-1e-7, 1e-7)
        ]
        jumps[aggregation] = abs(energies[0]["energy"][0] - energies[1]["energy"][0])
    assert jumps["scaled_sum"] < 1e-7
    assert jumps["mean"] > 1e-3


def test_batch_norm_is_a_parameter():
    with_norm, without = (CGCNN(**SMALL, batch_norm=on).build(CUTOFF) for on in (True, False))
    names = with_norm.state_dict().keys() - without.state_dict().keys()
    assert {name.split(".")[2] for name in names} == {"norm"}


def test_batch_norm_of_one_atom_is_explained():
    atoms = [Atoms("Cu", cell=[3.0 + 0.1 * i] * 3, pbc=True) for i in range(3)]
    network = CGCNN(8, 1, batch_norm=True)
    model = PropertyRegressor(network, batch_size=2, validation_fraction=0, max_epochs=1)
    with pytest.raises(ValueError, match=r"one atom alone.*batch_size"):
        model.fit(atoms, [1.0, 2.0, 3.0])
