"""PropertyTargets: y in, losses, standardisation, and back to the units of y."""

from typing import Any

import numpy as np
import pytest
import torch

from cases import (
    BACKBONES,
    CUTOFF,
    READOUTS,
    SMALL,
    compute_losses,
    loss_targets,
    make_model,
    random_structures,
)
from gnnpre import CGCNN, PropertyTargets, StructureToGraph
from gnnpre.objectives._losses import LOSSES
from gnnpre.training._average import LossTotals, combine

STRUCTURES = list(random_structures().values())
N = len(STRUCTURES)


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


@pytest.fixture
def y() -> np.ndarray:
    """Two properties of very different size, some values missing."""
    values = np.random.default_rng(0).normal([100.0, 2e-4], [30.0, 1e-4], size=(N, 2))
    values[2, 0] = values[5, 1] = values[6] = np.nan
    return values


def fit(graphs, y, train=None, **parameters):
    """A model with the statistics of ``train``, and the targets."""
    objective = PropertyTargets(**parameters)
    targets = objective.make_targets(graphs, y)
    model = make_model(CGCNN(**SMALL), objective, layout=objective.layout(targets))
    model.set_statistics(graphs, targets, np.arange(len(graphs)) if train is None else train)
    return model, targets


def network(model, graphs) -> np.ndarray:
    """What the readout gives, before it is put in the units of y."""
    batch = graphs.batch(dtype=torch.float64)
    with torch.no_grad():
        return model.head(model.backbone(batch).scalars, batch).numpy()


def predict(model, graphs) -> np.ndarray:
    return model.predict(graphs.batch(dtype=torch.float64))["properties"].numpy()


class TestTargets:
    @pytest.mark.parametrize("shape", [(N,), (N, 1), (N, 3)])
    def test_shapes(self, graphs, shape):
        y = np.arange(np.prod(shape), dtype=float).reshape(shape)
        objective = PropertyTargets()
        targets = objective.make_targets(graphs, y)
        result = targets.crystal["properties"]
        assert result.dtype == torch.float64
        np.testing.assert_array_equal(result, y.reshape(N, -1))
        assert objective.layout(targets) == {"n_outputs": y.reshape(N, -1).shape[1]}

    def test_lists_and_ints(self, graphs):
        targets = PropertyTargets().make_targets(graphs, list(range(N)))
        np.testing.assert_array_equal(targets.crystal["properties"][:, 0], np.arange(N))

    @pytest.mark.parametrize(
        ("bad", "match"),
        [
            (None, "y is None"),
            (["a"] * N, "cannot be read as numbers"),
            ([[1.0], [1.0, 2.0]] * (N // 2), "cannot be read as numbers"),
            (np.zeros(N - 1), rf"y has shape \({N - 1},\); X has {N} crystals"),
            (np.zeros((2, N)), rf"y has shape \(2, {N}\)"),
            (np.zeros((N, 1, 1)), r"y has shape"),
            (np.r_[np.zeros(N - 1), np.inf], rf"y is inf at row {N - 1}"),
            (np.full(N, np.nan), "only missing values.*column 0"),
        ],
    )
    def test_bad_y(self, graphs, bad, match):
        with pytest.raises(ValueError, match=match):
            PropertyTargets().make_targets(graphs, bad)

    def test_column_of_gaps_is_named(self, graphs, y):
        y = np.column_stack([y, np.full(N, np.nan)])
        with pytest.raises(ValueError, match="column 2"):
            PropertyTargets().make_targets(graphs, y)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"loss": "mae"}, "^loss='mae'"),
        ({"huber_delta": -1}, "^huber_delta=-1"),
        ({"readout": None}, "^readout=None"),
        ({"pooling": "median"}, "^pooling='median'"),
        ({"head_channels": "wide"}, "^head_channels='wide'"),
        ({"head_layers": 1.5}, "^head_layers=1.5"),
    ],
)
def test_bad_parameters_are_named(parameters, match):
    backbone = CGCNN(**SMALL).build(CUTOFF)
    with pytest.raises(ValueError, match=match):
        PropertyTargets(**parameters).build(backbone, {"n_outputs": 1})


class TestStandardisation:
    def test_mean_and_spread_of_the_training_part(self, graphs, y):
        train = np.array([0, 1, 2, 5, 6])
        model, _ = fit(graphs, y, train)
        np.testing.assert_allclose(model.mean, np.nanmean(y[train], axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.std, np.nanstd(y[train], axis=0), rtol=1e-12)

    def test_the_rest_is_not_looked_at(self, graphs, y):
        train = np.array([0, 1, 2, 5, 6])
        model, _ = fit(graphs, y, train)
        y[[3, 4, 7]] *= 1000.0
        alternative, _ = fit(graphs, y, train)
        assert torch.equal(model.mean, alternative.mean)
        assert torch.equal(model.std, alternative.std)

    def test_sum_pooling_standardises_per_atom(self, graphs):
        """A property that is 3.0 an atom, give or take: its mean grows with the cell."""
        noise = np.random.default_rng(0).normal(size=N)
        y = 3.0 * graphs.atom_counts + noise
        model, _ = fit(graphs, y, pooling="sum")
        mean = (y / graphs.atom_counts).mean()
        assert float(model.mean) == pytest.approx(mean, rel=1e-12)
        spread = (y - mean * graphs.atom_counts).std()
        assert float(model.std) == pytest.approx(spread, rel=1e-12)
        offset = predict(model, graphs) - network(model, graphs) * spread
        np.testing.assert_allclose(offset[:, 0], mean * graphs.atom_counts, rtol=1e-9)

    def test_off(self, graphs, y):
        model, _ = fit(graphs, y, standardize=False)
        assert model.mean.tolist() == [0.0, 0.0]
        assert model.std.tolist() == [1.0, 1.0]

    @pytest.mark.parametrize("pooling", ["mean", "sum"])
    @pytest.mark.parametrize("constant", [5.0, 1.6e-19, -3e-310, 0.0, 7e28])
    def test_a_constant_property_is_predicted_exactly(self, graphs, constant, pooling):
        sizes = graphs.atom_counts if pooling == "sum" else np.ones(N)
        model, targets = fit(graphs, constant * sizes, pooling=pooling)
        np.testing.assert_allclose(predict(model, graphs)[:, 0], constant * sizes, rtol=1e-14)
        loss = combine(compute_losses(model.train(), graphs, targets))
        assert loss.item() == pytest.approx(0.0, abs=1e-14)
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())

    def test_a_column_without_values_in_the_training_set_is_warned_of(self, graphs, y):
        y[:3, 1] = np.nan
        with pytest.warns(UserWarning, match="no value in column 1 among the 3 crystals"):
            model, _ = fit(graphs, y, np.array([0, 1, 2]))
        assert (float(model.mean[1]), float(model.std[1])) == (0.0, 1.0)
        assert float(model.mean[0]) == pytest.approx(np.nanmean(y[:3, 0]))

    @pytest.mark.parametrize("pooling", ["mean", "sum"])
    def test_units_there_and_back(self, graphs, y, pooling):
        """A network that gives the standardised property exactly predicts the property."""
        model, targets = fit(graphs, y, pooling=pooling)
        sizes = graphs.atom_counts[:, None] if pooling == "sum" else 1
        perfect = torch.from_numpy((y - model.mean.numpy() * sizes) / model.std.numpy())
        model.head.forward = lambda scalars, batch: perfect
        np.testing.assert_allclose(predict(model, graphs), y, rtol=1e-12)
        assert compute_losses(model, graphs, targets)["properties"].mean.item() < 1e-12

    def test_another_unit_scales_predictions_and_leaves_the_loss(self, graphs, y):
        model, targets = fit(graphs, y)
        factor = np.array([1e3, -1e-2])
        alternative, other_targets = fit(graphs, y * factor)
        # The sign of a property is the network's business: compare sizes and offsets.
        np.testing.assert_allclose(alternative.std, model.std.numpy() * np.abs(factor), rtol=1e-12)
        np.testing.assert_allclose(alternative.mean, model.mean.numpy() * factor, rtol=1e-12)
        model, targets = fit(graphs, y[:, 0])
        alternative, other_targets = fit(graphs, y[:, 0] * 1e3 + 7.0)
        np.testing.assert_allclose(
            predict(alternative, graphs), predict(model, graphs) * 1e3 + 7.0, rtol=1e-10
        )
        losses = [
            combine(compute_losses(m, graphs, t)).item()
            for m, t in ((model, targets), (alternative, other_targets))
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)

    def test_are_kept_with_the_weights(self, graphs, y):
        model, _ = fit(graphs, y)
        assert {"mean", "std"} <= model.state_dict().keys()

    def test_stay_in_float64_whatever_the_precision_of_the_network(self, graphs, y):
        model, _ = fit(graphs, y + 1e9)
        before = model.mean.clone()
        model.float()
        assert next(model.parameters()).dtype == torch.float32
        assert torch.equal(model.mean, before)


@pytest.mark.parametrize("scale", [1e-21, 1e-200, 1.0, 1e20])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_single_precision_learns_the_same_with_any_offset_and_unit(graphs, scale, offset):
    """The loss, its gradient and the differences of predictions are those of plain numbers."""
    plain = np.random.default_rng(0).normal(size=N)

    def run(y):
        model, targets = fit(graphs, y)
        model = model.float().train()
        indices = np.arange(N)
        batch = graphs.batch(indices, torch.float32)
        labels = loss_targets(model, targets, batch, indices)["properties"].float()
        loss = combine(model.losses(model(batch), {"properties": labels}, batch))
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        return loss.item(), gradient, model.predict(batch)["properties"].numpy()[:, 0]

    loss, gradient, predicted = run(plain)
    other_loss, other_gradient, alternative = run((plain + offset) * scale)
    assert alternative.dtype == np.float64
    assert other_loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(alternative / scale - offset, predicted, atol=1e-6)
    assert len(np.unique(alternative)) == N


def test_single_precision_without_standardisation_is_warned_of(graphs):
    y = 1e8 + np.random.default_rng(0).normal(size=N)
    model, targets = fit(graphs, np.zeros(N), standardize=False)
    targets.crystal["properties"] = torch.from_numpy(y[:, None])
    with pytest.warns(UserWarning, match="single precision loses the differences"):
        model.float().set_statistics(graphs, targets, np.arange(N))


@pytest.mark.parametrize("missing", ["pd.NA", "masked"])
def test_missing_values_of_other_libraries(graphs, missing):
    pd = pytest.importorskip("pandas")
    values = np.arange(2.0 * N).reshape(N, 2)
    y: Any = np.ma.masked_array(values, mask=values == 3.0)
    if missing == "pd.NA":
        y = pd.DataFrame(values, dtype="Float64")
        y.iloc[1, 1] = pd.NA
    properties = PropertyTargets().make_targets(graphs, y).crystal["properties"].numpy()
    expected = np.where(values == 3.0, np.nan, values)
    np.testing.assert_array_equal(properties, expected)


class TestLosses:
    @pytest.mark.parametrize("weighted", [False, True], ids=["", "sample_weight"])
    def test_is_in_units_of_the_spread_and_skips_gaps(self, graphs, y, weighted):
        model, targets = fit(graphs, y)
        weights = np.ones(N)
        if weighted:
            weights = np.linspace(0.0, 2.0, N)
            targets.crystal["sample_weight"] = torch.from_numpy(weights)
        errors = np.abs(predict(model, graphs) - y) / np.nanstd(y, axis=0)
        present = np.isfinite(y)
        rows = np.broadcast_to(weights[:, None], y.shape)
        expected = np.average(errors[present], weights=rows[present])
        result = compute_losses(model, graphs, targets)
        assert set(result) == {"properties"}
        assert result["properties"].mean.item() == pytest.approx(expected, rel=1e-10)

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("readout", READOUTS)
    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_every_gradient_is_finite_with_gaps(self, graphs, y, backbone, readout, loss):
        form = READOUTS[readout]
        objective = PropertyTargets(loss, readout=form.order, pooling=form.pooling)
        targets = objective.make_targets(graphs, y)
        model = make_model(BACKBONES[backbone], objective, layout={"n_outputs": 2}).train()
        model.set_statistics(graphs, targets, np.arange(N))
        combine(compute_losses(model, graphs, targets)).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        gradients = [parameter.grad.abs().max() for parameter in model.backbone.parameters()]
        assert max(gradients) > 1e-8

    def test_add_up_over_batches_to_the_mean_of_the_data_set(self, graphs, y):
        model, targets = fit(graphs, y)
        totals = LossTotals()
        for indices in ([6], [0, 4, 2], [1, 3, 5, 7]):
            totals.add(compute_losses(model, graphs, targets, indices))
        expected = combine(compute_losses(model, graphs, targets)).item()
        assert totals.means()["loss"] == pytest.approx(expected, rel=1e-12)


def test_collected_predictions_are_an_array_in_the_order_of_the_crystals(graphs, y):
    model, _ = fit(graphs, y)
    parts = []
    for indices in ([0, 1], [2, 3, 4, 5, 6, 7]):
        values = model.predict(graphs.batch(indices, torch.float64))["properties"]
        parts.append({"properties": values.numpy()})
    result = PropertyTargets().collect(parts, graphs.atom_counts)
    assert result.shape == (N, 2)
    np.testing.assert_allclose(result, predict(model, graphs), rtol=1e-10)
