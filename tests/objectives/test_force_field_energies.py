"""Energies of elements, totals and sources of a force field."""

import numpy as np
import pytest
import torch

from cases import CUTOFF, MEAN_NEIGHBORS, SMALL, loss_targets, make_frame_labels, make_model
from gnnpre import CGCNN, ForceField, FrameLabels, Pretrainer, StructureToGraph
from gnnpre.objectives._force_field_model import _references_by_source
from objectives.force_field_cases import STRUCTURES, with_gaps


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


@pytest.fixture
def labels(graphs) -> FrameLabels:
    return make_frame_labels(graphs.atom_counts)


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
