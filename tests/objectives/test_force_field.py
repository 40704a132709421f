"""ForceField: labels in, losses, statistics, and the papers' ratios."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from cases import (
    BACKBONES,
    CUTOFF,
    MEAN_NEIGHBORS,
    READOUTS,
    SMALL,
    compute_losses,
    loss_targets,
    make_frame_labels,
    make_model,
    random_structures,
)
from gnnpre import CGCNN, ForceField, FrameLabels, Pretrainer, StructureToGraph
from gnnpre.objectives._force_field_model import _references_by_source
from gnnpre.objectives._losses import LOSSES
from gnnpre.training._average import LossTotals, combine

STRUCTURES = list(random_structures().values())
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


def with_gaps(labels: FrameLabels) -> FrameLabels:
    """Some energies, single force components and whole stresses missing."""
    energy, forces, stress = labels.energy.copy(), labels.forces.copy(), labels.stress.copy()
    energy[[1, 4]] = np.nan
    forces[:3] = np.nan
    forces[5, 1] = np.nan
    stress[0] = np.nan
    return FrameLabels(labels.n_atoms, energy=energy, forces=forces, stress=stress)


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


class TestStatistics:
    def fit(self, graphs, labels, train=None, **parameters):
        objective = ForceField(**parameters)
        model = objective.build(CGCNN(**SMALL).build(CUTOFF, MEAN_NEIGHBORS), {})
        targets = objective.make_targets(graphs, labels)
        train = np.arange(len(graphs)) if train is None else np.asarray(train)
        model.set_statistics(graphs, targets, train)
        return model

    def test_references_see_the_training_set_only(self, graphs, labels):
        train = [0, 2, 3, 6]
        before = self.fit(graphs, labels, train)
        labels.energy[[1, 4, 5, 7]] += 1000.0
        after = self.fit(graphs, labels, train)
        assert torch.equal(before.reference_energies, after.reference_energies)
        assert torch.equal(before.scale, after.scale)
        labels.energy[2] += 1000.0
        changed = self.fit(graphs, labels, train)
        assert not torch.allclose(before.reference_energies, changed.reference_energies)

    def test_references_skip_missing_energies(self, graphs, labels):
        retained = [0, 1, 2, 4, 5, 6]
        expected = self.fit(graphs, labels, retained).reference_energies
        labels.energy[[3, 7]] = np.nan
        assert torch.equal(self.fit(graphs, labels).reference_energies, expected)

    def test_energy_is_network_plus_references(self, graphs, labels):
        model = self.fit(graphs, labels).double().eval()
        batch = graphs.batch(dtype=torch.float64)
        with torch.no_grad():
            network = model.head(model.backbone(batch).scalars, batch)[:, 0] * model.scale
        total = model.predict(batch)["energy"]
        table = model.reference_energies.numpy()
        sums = [table[atoms.numbers - 1].sum() for atoms in STRUCTURES]
        np.testing.assert_allclose(total - network, sums, rtol=1e-10)

    def test_references_alone_predict_what_they_were_fitted_to(self, graphs, labels):
        """With nothing from the network."""
        true = np.linspace(-1.0, -9.0, 100)
        labels.energy[:] = [true[atoms.numbers - 1].sum() for atoms in STRUCTURES]
        model = self.fit(graphs, labels, reference_energies="minimum_norm").double()
        model.scale.zero_()
        result = model.predict(graphs.batch(dtype=torch.float64))["energy"]
        np.testing.assert_allclose(result, labels.energy, rtol=1e-6)

    def test_none_leaves_raw_totals(self, graphs, labels):
        model = self.fit(graphs, labels, reference_energies=None)
        assert not model.reference_energies.any()

    def test_scale_is_the_root_mean_square_force(self, graphs, labels):
        labels = with_gaps(labels)
        train = np.array([0, 1, 2])
        model = self.fit(graphs, labels, train)
        forces = labels[train].forces
        assert float(model.scale) == pytest.approx(np.sqrt(np.nanmean(forces**2)), rel=1e-6)

    def test_scale_is_the_spread_of_energies_without_forces(self, graphs, labels):
        model = self.fit(graphs, labels, forces=0, reference_energies=None)
        per_atom = labels.energy / labels.n_atoms
        assert float(model.scale) == pytest.approx(per_atom.std(), rel=1e-6)

    def test_spread_is_taken_after_the_references(self, graphs, labels):
        model = self.fit(graphs, labels, forces=0, reference_energies="minimum_norm")
        table = model.reference_energies.double().numpy()
        sums = np.array([table[atoms.numbers - 1].sum() for atoms in STRUCTURES])
        spread = ((labels.energy - sums) / labels.n_atoms).std()
        assert float(model.scale) == pytest.approx(spread, rel=1e-4)

    def test_scale_off(self, graphs, labels):
        assert float(self.fit(graphs, labels, scale=False).scale) == 1.0

    @pytest.mark.parametrize("forces", [0.0, np.nan], ids=["perfect crystals", "missing"])
    def test_scale_without_forces_to_learn_from_is_positive(self, graphs, labels, forces):
        labels.forces[:-1] = forces
        model = self.fit(graphs, labels, [0, 1, 2])
        assert np.isfinite(float(model.scale))
        assert float(model.scale) > 0

    def test_forces_that_are_rounding_are_no_scale(self, graphs, labels):
        labels.forces[:] = 1e-14
        model = self.fit(graphs, labels, reference_energies=None)
        per_atom = labels.energy / labels.n_atoms
        assert float(model.scale) == pytest.approx(per_atom.std(), rel=1e-6)

    def test_labels_in_joules_are_warned_of(self, graphs, labels):
        in_joules = FrameLabels(
            labels.n_atoms,
            energy=1.6e-19 * labels.energy,
            forces=1.6e-9 * labels.forces,
            stress=labels.stress,
        )
        with pytest.warns(UserWarning, match="Check their units"):
            self.fit(graphs, in_joules)

    def test_no_energy_in_the_training_part(self, graphs, labels):
        labels.energy[[0, 1]] = np.nan
        model = self.fit(graphs, labels, [0, 1])
        assert not model.reference_energies.any()
        assert float(model.scale) > 0

    def test_are_kept_with_the_weights(self, graphs, labels):
        state = self.fit(graphs, labels).state_dict()
        assert {"reference_energies", "scale"} <= state.keys()


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


class TestTotals:
    """Total energies of codes lie between -1e2 and -1e6 eV per atom; the network sees none."""

    def offsets(self, size=1.0):
        return -16.0 * size * np.arange(1, 101) ** 2.4

    def totals(self, labels, offsets):
        energy = labels.energy + [offsets[atoms.numbers - 1].sum() for atoms in STRUCTURES]
        return FrameLabels(
            labels.n_atoms, energy=energy, forces=labels.forces, stress=labels.stress
        )

    def trained(self, graphs, y, train):
        objective = ForceField()
        targets = objective.make_targets(graphs, y)
        model = make_model(CGCNN(**SMALL), objective).float()
        model.set_statistics(graphs, targets, np.asarray(train))
        return model, targets

    @pytest.mark.parametrize("train", [[0], [0, 3], [0, 1, 2, 3, 4, 5, 6, 7]])
    @pytest.mark.parametrize("size", [1.0, 100.0])
    def test_losses_do_not_depend_on_offsets_of_the_elements(self, graphs, labels, train, size):
        result = []
        for y in (labels, self.totals(labels, self.offsets(size))):
            model, targets = self.trained(graphs, y, train)
            batch = graphs.batch(train, torch.float32)
            losses = model.losses(
                model(batch),
                {
                    name: values.float()
                    for name, values in loss_targets(
                        model, targets, batch, np.asarray(train)
                    ).items()
                },
                batch,
            )
            result.append(losses["energy"].mean.item())
        assert result[1] == pytest.approx(result[0], rel=1e-5, abs=1e-6)

    def test_a_flat_energy_curve_is_resolved(self, labels):
        """Predictions at 1e5 eV per atom differ by what the network says, in float64."""
        from ase.build import bulk

        curve = [bulk("Au", a=4.05 * (1 + step)) for step in np.linspace(-1e-4, 1e-4, 9)]
        graphs = StructureToGraph(CUTOFF).transform(curve)
        model = make_model(CGCNN(**SMALL), ForceField()).float()
        model.reference_energies.fill_(-1.2345678e5)
        batch = graphs.batch(dtype=torch.float32)
        network = model(batch)["energy"].detach().double().numpy()
        predicted = model.predict(batch)["energy"].numpy()
        assert predicted.dtype == np.float64
        np.testing.assert_allclose(predicted + 1.2345678e5, network, rtol=1e-6, atol=1e-10)
        assert len(np.unique(predicted)) == len(np.unique(network)) > 5

    def test_an_estimator_predicts_totals_in_float64(self, graphs, labels):
        y = self.totals(labels, self.offsets())
        pretrainer = Pretrainer(
            CGCNN(8, 1), ForceField(), max_epochs=1, validation_fraction=0, random_state=0
        )
        predicted = pretrainer.fit(graphs, y).predict(graphs)
        assert predicted.energy.dtype == np.float64
        errors = (predicted.energy - y.energy) / y.n_atoms
        assert np.abs(errors).max() < 20.0


class TestSources:
    @pytest.fixture
    def two_codes(self, labels):
        """The same crystals twice; the second code has other energies of the elements."""
        shift = 1e3 * np.arange(1, 101) ** 1.5
        second = labels.energy + [shift[atoms.numbers - 1].sum() for atoms in STRUCTURES]
        info = {"source": ["mp"] * len(labels) + ["oqmd"] * len(labels)}
        return FrameLabels(
            np.tile(labels.n_atoms, 2),
            energy=np.concatenate([labels.energy, second]),
            forces=np.tile(labels.forces, (2, 1)),
            stress=np.tile(labels.stress, (2, 1, 1)),
            info=info,
        )

    @pytest.fixture
    def twice(self):
        return StructureToGraph(CUTOFF).transform(STRUCTURES * 2)

    def test_each_has_references_of_its_own(self, twice, two_codes):
        objective = ForceField(sources=("mp", "oqmd"))
        targets = objective.make_targets(twice, two_codes)
        model = make_model(CGCNN(**SMALL), objective)
        rows = np.arange(len(twice))
        model.set_statistics(twice, targets, rows)
        residual = loss_targets(model, targets, twice.batch(dtype=torch.float64), rows)["energy"]
        first, second = residual.numpy().reshape(2, -1)
        np.testing.assert_allclose(second, first, atol=1e-6)

    def test_predictions_are_those_of_the_first(self, twice, two_codes):
        for sources in (("mp", "oqmd"), ("oqmd", "mp")):
            objective = ForceField(sources=sources)
            targets = objective.make_targets(twice, two_codes)
            model = make_model(CGCNN(**SMALL), objective)
            model.set_statistics(twice, targets, np.arange(len(twice)))
            model.scale.zero_()
            n = len(STRUCTURES)
            rows = slice(0, n) if sources[0] == "mp" else slice(n, 2 * n)
            predicted = model.predict(twice.batch(dtype=torch.float64))["energy"].numpy()[:n]
            errors = (predicted - two_codes.energy[rows]) / two_codes.n_atoms[:n]
            assert np.abs(errors).max() < 5.0

    def test_elements_of_another_source_are_shifted(self):
        counts = np.array([[1, 1, 0], [2, 1, 0], [1, 1, 1], [2, 1, 0], [0, 1, 2]])
        energies = np.array([[-3.0, -5.0, 0.0], [-103.0, -105.0, -107.0]])
        sources = np.array([0, 0, 1, 1, 1])
        energy = (counts * energies[sources]).sum(axis=1)
        tables = _references_by_source(counts, energy, sources, 2)
        np.testing.assert_allclose(tables, [[-3.0, -5.0, -7.0], [-103.0, -105.0, -107.0]])

    @pytest.mark.parametrize(
        ("info", "match"),
        [
            ({}, "needs y.info"),
            ({"source": ["mp"] * 7 + ["aflow"]}, "holds aflow"),
            ({"source": ["mp"] * 7 + [None]}, "missing"),
        ],
    )
    def test_bad_columns_are_named(self, graphs, labels, info, match):
        y = FrameLabels(labels.n_atoms, energy=labels.energy, info=info)
        with pytest.raises(ValueError, match=match):
            ForceField(1, 0, 0, sources=("mp", "oqmd")).make_targets(graphs, y)

    @pytest.mark.parametrize("sources", ["mp", (), ("mp", "mp")])
    def test_bad_names_are_refused(self, sources):
        with pytest.raises(ValueError, match=r"^sources="):
            ForceField(sources=sources).check_parameters()
