"""SchNet: its equation edge by edge, and its parameters."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from cases import CUTOFF, MEAN_NEIGHBORS, SMALL, make_model, random_structures
from gnnpre import ForceField, SchNet, StructureToGraph


@pytest.fixture(scope="module")
def batch():
    graphs = StructureToGraph(CUTOFF).transform(list(random_structures().values())[:2])
    return graphs.batch(dtype=torch.float64)


def silu(x):
    return x / (1.0 + np.exp(-x))


def shifted_softplus(x):
    return np.log(0.5 * np.exp(x) + 0.5)  # equation 5 of the paper


def plain_features(module, config, batch):
    """The equation of SchNet's docstring, edge by edge, in NumPy."""
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    activation = silu if config.activation == "silu" else shifted_softplus
    scale = 1.0 / np.sqrt(MEAN_NEIGHBORS) if config.aggregation == "scaled_sum" else 1.0

    def linear(name, x):
        return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)

    x = weights["embedding.linear.weight"].T[batch.atomic_numbers - 1]
    x = x + weights["embedding.linear.bias"]
    centers = np.linspace(0.0, CUTOFF, config.n_radial)
    sources, targets = batch.edge_index.numpy()
    for k in range(config.n_layers):
        sums = np.zeros_like(x)
        for source, target, vector in zip(sources, targets, batch.edge_vectors, strict=True):
            d = float(vector.norm())
            radial = np.exp(-0.5 * ((d - centers) / (centers[1] - centers[0])) ** 2)
            hidden = activation(linear(f"layers.{k}.filter_in", radial))
            cutoff = 0.5 * (1.0 + np.cos(np.pi * d / CUTOFF))
            filters = cutoff * linear(f"layers.{k}.filter_out", hidden)
            sums[target] += linear(f"layers.{k}.source", x[source]) * filters * scale
        updates = [
            linear(f"layers.{k}.update_out", activation(linear(f"layers.{k}.update_in", row)))
            for row in sums
        ]
        x = x + np.array(updates)
    return x


@pytest.mark.parametrize("activation", ["silu", "softplus"])
@pytest.mark.parametrize("aggregation", ["scaled_sum", "sum"])
def test_equation(batch, activation, aggregation):
    config = SchNet(**SMALL, activation=activation, aggregation=aggregation)
    module = make_model(config, ForceField()).backbone
    features = module(batch)
    assert features.vectors is None
    expected = plain_features(module, config, batch)
    # The centres of a model that was built in float32 carry its rounding.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(features.scalars.detach(), expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_channels", 0),
        ("n_layers", 1.5),
        ("n_radial", 1),
        ("activation", "tanh"),
        ("aggregation", "mean"),
        ("element_start", "normal"),
    ],
)
def test_parameters_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}; expected"):
        clone(SchNet()).set_params(**{name: value}).build(CUTOFF)


def test_search_space_names_its_parameters():
    assert set(SchNet().search_space()) <= set(SchNet().get_params())
