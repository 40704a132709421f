"""ForceField: labels in, losses, statistics, and the papers' ratios."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from cases import BACKBONES, CUTOFF, READOUTS, SMALL, compute_losses, make_frame_labels, make_model
from gnnpre import CGCNN, ForceField, FrameLabels, StructureToGraph
from gnnpre.objectives._losses import LOSSES
from gnnpre.training._average import LossTotals, combine
from objectives.force_field_cases import STRUCTURES, with_gaps

RATIOS = [(1, 0, 0), (0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 500, 500)]


PAPERS = {
    "energy_per": "cell",
    "reference_energies": None,
    "scale": False,
    "readout": "early",
    "head_layers": 3,
    "head_channels": 150,
}


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


@pytest.fixture
def labels(graphs) -> FrameLabels:
    return make_frame_labels(graphs.atom_counts)


class TestLosses:
    @pytest.mark.parametrize("energy_per", ["atom", "cell"])
    @pytest.mark.parametrize("weighted", [False, True], ids=["", "sample_weight"])
    def test_against_numpy(self, graphs, labels, energy_per, weighted):
        labels = with_gaps(labels)
        objective = ForceField(2.0, 30.0, 400.0, energy_per=energy_per)
        model = make_model(CGCNN(**SMALL), objective)
        targets = objective.make_targets(graphs, labels)
        sample_weight = np.ones(len(graphs))
        if weighted:
            sample_weight = np.linspace(0.0, 2.0, len(graphs))
            targets.crystal["sample_weight"] = torch.from_numpy(sample_weight)
        predicted = {
            name: values.numpy()
            for name, values in model.predict(graphs.batch(dtype=torch.float64)).items()
        }
        divisor = graphs.atom_counts if energy_per == "atom" else 1
        atom_weight = np.repeat(sample_weight, graphs.atom_counts)
        terms = {
            "energy": ((predicted["energy"] - labels.energy) / divisor, sample_weight, 2.0),
            "forces": (predicted["forces"] - labels.forces, atom_weight, 30.0),
            "stress": (predicted["stress"] - labels.stress, sample_weight, 400.0),
        }
        result = compute_losses(model, graphs, targets)
        assert result.keys() == terms.keys()
        loss = 0.0
        for name, (errors, rows, weight) in terms.items():
            present = np.isfinite(errors)
            rows = np.broadcast_to(rows.reshape(-1, *[1] * (errors.ndim - 1)), errors.shape)
            mean = np.average(np.abs(errors[present]), weights=rows[present])
            assert result[name].mean.item() == pytest.approx(mean, rel=1e-10)
            assert result[name].weight == weight
            loss += weight * mean
        assert combine(result).item() == pytest.approx(loss, rel=1e-10)

    def test_stress_of_slabs_is_left_out_though_labelled(self, graphs, labels):
        objective = ForceField()
        model = make_model(CGCNN(**SMALL), objective)
        assert np.isfinite(labels.stress).all()
        result = compute_losses(model, graphs, objective.make_targets(graphs, labels))
        periodic = sum(bool(atoms.pbc.all()) for atoms in STRUCTURES)
        assert 0 < periodic < len(STRUCTURES)
        assert float(result["stress"].count) == 9 * periodic

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("readout", READOUTS)
    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_every_gradient_is_finite_with_gaps_and_slabs(
        self, graphs, labels, backbone, readout, loss
    ):
        form = READOUTS[readout]
        objective = ForceField(loss=loss, readout=form.order, pooling=form.pooling)
        model = make_model(BACKBONES[backbone], objective).train()
        targets = objective.make_targets(graphs, with_gaps(labels))
        combine(compute_losses(model, graphs, targets)).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        gradients = [parameter.grad.abs().max() for parameter in model.backbone.parameters()]
        assert max(gradients) > 1e-6

    def test_batches_without_any_label_of_a_kind(self, graphs, labels):
        """One molecule, its forces and energy unknown: nothing to learn, and no NaN."""
        objective = ForceField()
        model = make_model(CGCNN(**SMALL), objective).train()
        index = len(STRUCTURES) - 1
        labels.energy[index] = np.nan
        labels.forces[labels.offsets[index] :] = np.nan
        targets = objective.make_targets(graphs, labels)
        loss = combine(compute_losses(model, graphs, targets, [index]))
        assert loss.item() == 0.0
        loss.backward()
        assert all((p.grad is None or (p.grad == 0).all()) for p in model.parameters())

    @pytest.mark.parametrize("piece", ["energy", "forces", "stress"])
    def test_gradients_agree_with_differences_of_the_loss(self, graphs, labels, piece):
        """The second derivatives that training takes."""
        weights = {"energy": 0, "forces": 0, "stress": 0, piece: 1}
        objective = ForceField(**weights, loss="mse")
        model = make_model(CGCNN(**SMALL), objective).train()
        targets = objective.make_targets(graphs, labels)
        combine(compute_losses(model, graphs, targets)).backward()
        for name in ("layers.0.edge.weight", "layers.1.source.weight", "embedding.linear.bias"):
            parameter = model.backbone.get_parameter(name)
            index = int(parameter.grad.abs().argmax())
            losses = []
            for step in (-1e-5, 1e-5):
                with torch.no_grad():
                    parameter.view(-1)[index] += step
                losses.append(combine(compute_losses(model, graphs, targets)).item())
                with torch.no_grad():
                    parameter.view(-1)[index] -= step
            expected = (losses[1] - losses[0]) / 2e-5
            assert abs(expected) > 1e-6
            assert float(parameter.grad.view(-1)[index]) == pytest.approx(expected, rel=1e-5)

    def test_losses_add_up_over_batches_to_the_mean_of_the_data_set(self, graphs, labels):
        objective = ForceField(1, 500, 500)
        model = make_model(CGCNN(**SMALL), objective)
        targets = objective.make_targets(graphs, with_gaps(labels))
        totals = LossTotals()
        for indices in ([3], [7, 0, 5], [1, 2], [4, 6]):
            totals.add(compute_losses(model, graphs, targets, indices))
        whole = compute_losses(model, graphs, targets)
        expected = {name: term.mean.item() for name, term in whole.items()}
        expected["loss"] = combine(whole).item()
        assert totals.means() == pytest.approx(expected, rel=1e-10)


class TestRatios:
    @pytest.mark.parametrize("ratio", RATIOS, ids=str)
    def test_terms_without_weight_are_absent(self, graphs, labels, ratio):
        objective = ForceField(*ratio, **PAPERS)
        model = make_model(CGCNN(**SMALL), objective)
        result = compute_losses(model, graphs, objective.make_targets(graphs, labels))
        weights = dict(zip(("energy", "forces", "stress"), ratio, strict=True))
        expected = {name: weight for name, weight in weights.items() if weight}
        assert {name: term.weight for name, term in result.items()} == expected

    @pytest.mark.parametrize("ratio", RATIOS, ids=str)
    def test_labels_without_weight_may_be_missing(self, graphs, labels, ratio):
        options = {
            name: getattr(labels, name)
            for name, weight in zip(("energy", "forces", "stress"), ratio, strict=True)
            if weight
        }
        objective = ForceField(*ratio, **PAPERS)
        targets = objective.make_targets(graphs, FrameLabels(labels.n_atoms, **options))
        model = make_model(CGCNN(**SMALL), objective)
        assert torch.isfinite(combine(compute_losses(model, graphs, targets)))

    def test_energy_alone_takes_no_derivative(self, graphs, monkeypatch):
        def refuse(*args, **kwargs):
            raise AssertionError("derivatives were taken")

        monkeypatch.setattr("gnnpre.objectives._derivatives.forces_and_stress", refuse)
        batch = graphs.batch(dtype=torch.float64)
        assert set(make_model(CGCNN(**SMALL), ForceField(1, 0, 0))(batch)) == {"energy"}
        with pytest.raises(AssertionError, match="derivatives were taken"):
            make_model(CGCNN(**SMALL), ForceField(1, 1, 0))(batch)

    def test_prediction_is_whole_whatever_was_learnt(self, graphs):
        model = make_model(CGCNN(**SMALL), ForceField(1, 0, 0))
        result = model.predict(graphs.batch(dtype=torch.float64))
        assert set(result) == {"energy", "forces", "stress"}
        assert not any(values.requires_grad for values in result.values())

    def test_derivatives_under_no_grad(self, graphs):
        """As validation calls it."""
        model = make_model(CGCNN(**SMALL), ForceField())
        batch = graphs.batch(dtype=torch.float64)
        with torch.no_grad():
            result = model(batch)
        torch.testing.assert_close(result["forces"], model.predict(batch)["forces"])
        assert result["forces"].abs().max() > 0.01


class TestLabels:
    def test_targets_are_the_labels(self, graphs, labels):
        targets = ForceField().make_targets(graphs, labels)
        batch = targets.batch(np.array([2, 0]), torch.float64)
        chosen = labels[[2, 0]]
        for name in ("energy", "forces", "stress"):
            np.testing.assert_array_equal(batch[name], getattr(chosen, name))

    @pytest.mark.parametrize("y", [None, [1.0, 2.0], {"energy": [1.0]}, np.zeros(8)])
    def test_other_types_are_refused(self, graphs, y):
        with pytest.raises(TypeError, match=f"y is of type {type(y).__name__}.*FrameLabels"):
            ForceField().make_targets(graphs, y)

    def test_wrong_length(self, graphs, labels):
        with pytest.raises(ValueError, match=r"y has 3 frames; X has 8 crystals"):
            ForceField().make_targets(graphs, labels[:3])

    def test_wrong_atom_counts_name_the_first(self, graphs, labels):
        order = np.arange(len(labels))
        order[[3, 5]] = [5, 3]
        match = rf"y has {labels.n_atoms[5]} atoms in frame 3; crystal 3 of X has"
        with pytest.raises(ValueError, match=match):
            ForceField().make_targets(graphs, labels[order])

    @pytest.mark.parametrize("name", ["energy", "forces", "stress"])
    def test_all_missing_with_a_weight_is_named(self, graphs, labels, name):
        names = {"energy", "forces", "stress"} - {name}
        options = {key: getattr(labels, key) for key in names}
        gaps = FrameLabels(labels.n_atoms, **options)
        with pytest.raises(ValueError, match=f"y has no {name} .*{name}=0"):
            ForceField().make_targets(graphs, gaps)
        ForceField(**{name: 0}).make_targets(graphs, gaps)

    def test_parameters_are_checked_before_the_labels(self, graphs):
        with pytest.raises(ValueError, match=r"^loss='l2'"):
            ForceField(loss="l2").make_targets(graphs, None)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"energy": 0, "forces": 0, "stress": 0}, "energy, forces and stress all have weight 0"),
        ({"forces": -1.0}, "^forces=-1.0"),
        ({"stress": float("nan")}, "^stress=nan"),
        ({"energy": None}, "^energy=None"),
        ({"energy": True}, "^energy=True"),
        ({"energy_per": "crystal"}, "^energy_per='crystal'"),
        ({"loss": "rmse"}, "^loss='rmse'"),
        ({"huber_delta": 0.0}, "^huber_delta=0.0"),
        ({"reference_energies": "lasso"}, "^reference_energies='lasso'"),
        ({"readout": "middle"}, "^readout='middle'"),
        ({"pooling": "max"}, "^pooling='max'"),
        ({"head_channels": 0}, "^head_channels=0"),
        ({"head_layers": -1}, "^head_layers=-1"),
    ],
)
def test_bad_parameters_are_named(parameters, match):
    with pytest.raises(ValueError, match=match):
        ForceField(**parameters).build(CGCNN(**SMALL).build(CUTOFF), {})


def test_config_is_one():
    objective = ForceField(1, 500, 500, **PAPERS)
    assert clone(objective).get_params() == objective.get_params()
    assert vars(objective).keys() == objective.get_params().keys()


class TestWarnings:
    @pytest.fixture
    def cut_graphs(self):
        return StructureToGraph(CUTOFF, max_neighbors=6).transform(STRUCTURES)

    @pytest.mark.parametrize("ratio", [(1, 1, 0), (0, 0, 1)])
    def test_cut_neighbours(self, cut_graphs, ratio):
        with pytest.warns(UserWarning, match="max_neighbors=6"):
            ForceField(*ratio).check_graphs(cut_graphs)

    def test_no_warning_without_derivatives_or_without_a_cut(self, cut_graphs, graphs):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ForceField(1, 0, 0).check_graphs(cut_graphs)
            ForceField().check_graphs(graphs)


def test_collected_predictions_are_frame_labels(graphs):
    model = make_model(CGCNN(**SMALL), ForceField())
    parts = []
    for indices in ([0, 1, 2], [3], [4, 5, 6, 7]):
        predictions = model.predict(graphs.batch(indices, torch.float64))
        parts.append({name: values.numpy() for name, values in predictions.items()})
    result = ForceField().collect(parts, graphs.atom_counts)
    whole = model.predict(graphs.batch(dtype=torch.float64))
    assert isinstance(result, FrameLabels)
    np.testing.assert_array_equal(result.n_atoms, graphs.atom_counts)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(getattr(result, name), whole[name], rtol=1e-9, atol=1e-11)
