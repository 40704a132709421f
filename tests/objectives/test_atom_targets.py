"""AtomTargets: y in, means of elements, losses, and back to arrays of each crystal."""

import numpy as np
import pandas as pd
import pytest
import torch

from cases import BACKBONES, CUTOFF, compute_losses, loss_targets, make_model, random_structures
from gnnpre import AtomTargets, FrameLabels, StructureToGraph

FORMS = {
    "list": list,
    "Series": pd.Series,
    "lists": lambda y: [values.tolist() for values in y],
    "tensors": lambda y: [torch.tensor(values) for values in y],
}
STRUCTURES = list(random_structures().values())
N = len(STRUCTURES)
COUNTS = np.array([len(structure) for structure in STRUCTURES])


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


@pytest.fixture
def y():
    """Values around one number for each element."""
    rng = np.random.default_rng(0)
    return [0.1 * s.numbers + 0.2 * rng.normal(size=len(s)) for s in STRUCTURES]


def fit(graphs, y, train=None, **parameters):
    objective = AtomTargets(**parameters)
    targets = objective.make_targets(graphs, y)
    model = make_model(BACKBONES["cgcnn"], objective)
    model.set_statistics(graphs, targets, np.arange(N) if train is None else train)
    return model, targets


class TestTargets:
    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    def test_forms(self, graphs, y, form):
        values = AtomTargets().make_targets(graphs, form(y)).atom["atom_values"]
        assert values.dtype == torch.float64
        np.testing.assert_array_equal(values, np.concatenate(y))

    def test_crystals_of_equal_size(self, graphs):
        equal = graphs[np.flatnonzero(COUNTS == 4)]
        table = np.arange(4.0 * len(equal)).reshape(-1, 4)
        values = AtomTargets().make_targets(equal, table).atom["atom_values"]
        np.testing.assert_array_equal(values, table.ravel())
        predicted = AtomTargets().collect([{"atom_values": table.ravel()}], equal.atom_counts)
        assert predicted.shape == (len(equal),)
        np.testing.assert_array_equal(np.stack(predicted), table)

    @pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
    def test_a_crystal_may_have_no_values(self, graphs, y, missing):
        y[2] = missing
        y[3][0] = np.nan
        values = AtomTargets().make_targets(graphs, y).atom["atom_values"]
        assert int(torch.isnan(values).sum()) == COUNTS[2] + 1

    @pytest.mark.parametrize(
        ("change", "error", "match"),
        [
            (lambda y: None, ValueError, "y is None; expected a list of n arrays"),
            (lambda y: y[:-1], ValueError, rf"y has {N - 1} rows; X has {N} crystals"),
            (lambda y: dict(enumerate(y)), TypeError, "y is of type dict"),
            (lambda y: [*y[:3], y[3][:-1], *y[4:]], ValueError, r"\(1,\) at row 3, whose crystal"),
            (lambda y: [v * np.nan for v in y], ValueError, "only missing values"),
            (lambda y: [*y[:3], y[3] * np.inf, *y[4:]], ValueError, r"y\[3\] is .*inf|inf for"),
            (lambda y: [v.mean() for v in y], ValueError, "target='crystal'"),
            (lambda y: [*y[:3], ["a", "b"], *y[4:]], ValueError, r"y\[3\] cannot be read as num"),
        ],
    )
    def test_bad_y(self, graphs, y, change, error, match):
        with pytest.raises(error, match=match):
            AtomTargets().make_targets(graphs, change(y))

    def test_the_index_of_a_series_is_named(self, graphs, y):
        y[3] = y[3][:-1]
        series = pd.Series(y, index=[f"mp-{i}" for i in range(N)])
        with pytest.raises(ValueError, match=r"row 3 \(index 'mp-3'\)"):
            AtomTargets().make_targets(graphs, series)

    def test_frame_labels_name_their_columns(self, graphs):
        labels = FrameLabels(COUNTS, atom_info={"magmom": np.zeros(COUNTS.sum())})
        with pytest.raises(TypeError, match=r"\(magmom\): y.per_atom\(name\)"):
            AtomTargets().make_targets(graphs, labels)


class TestStatistics:
    def test_means_are_those_of_elements(self, graphs, y):
        model, targets = fit(graphs, y)
        numbers, values = np.concatenate([s.numbers for s in STRUCTURES]), np.concatenate(y)
        for number in np.unique(numbers):
            expected = values[numbers == number].mean()
            assert float(model.mean[number - 1]) == pytest.approx(expected)
        assert float(model.mean[50]) == pytest.approx(values.mean())  # not in the training
        batch = graphs.batch(dtype=torch.float64)
        standard = loss_targets(model, targets, batch, np.arange(N))["atom_values"]
        assert float(standard.square().mean()) == pytest.approx(1.0)

    def test_only_the_training_set_counts(self, graphs, y):
        train = np.array([0, 1, 2])
        changed = [values if row < 3 else values + 100 for row, values in enumerate(y)]
        first, _ = fit(graphs, y, train)
        second, _ = fit(graphs, changed, train)
        assert torch.equal(first.mean, second.mean)
        assert torch.equal(first.std, second.std)

    @pytest.mark.parametrize("standardize", [True, False])
    def test_predictions_are_in_the_unit_of_y(self, graphs, y, standardize):
        model, _ = fit(graphs, y, standardize=standardize)
        batch = graphs.batch(dtype=torch.float64)
        with torch.no_grad():
            value = model(batch)["atom_values"]
        expected = value * model.std + model.mean[batch.atomic_numbers - 1]
        assert torch.equal(model.predict(batch)["atom_values"], expected)

    def test_a_number_for_each_element_is_predicted_as_it_is(self, graphs):
        y = [0.1 * s.numbers for s in STRUCTURES]
        model, _ = fit(graphs, y)
        predicted = model.predict(graphs.batch(dtype=torch.float64))["atom_values"]
        np.testing.assert_allclose(predicted, np.concatenate(y), rtol=1e-12)


class TestLoss:
    def test_missing_atoms_and_weights(self, graphs, y):
        y[1][0] = np.nan
        model, targets = fit(graphs, y, loss="l1")
        weights = np.linspace(0.5, 2.0, N)
        targets.crystal["sample_weight"] = torch.tensor(weights)
        with torch.no_grad():
            term = compute_losses(model, graphs, targets)["atom_values"]
            predicted = model.predict(graphs.batch(dtype=torch.float64))["atom_values"].numpy()
        errors = np.abs(predicted - np.concatenate(y)) / float(model.std)
        of_atoms = np.repeat(weights, COUNTS)
        present = np.isfinite(errors)
        expected = np.average(errors[present], weights=of_atoms[present])
        assert float(term.mean) == pytest.approx(expected)


class TestBounds:
    def test_predictions_are_clipped(self, graphs, y):
        y = [np.clip(values, 0.0, 1.0) for values in y]
        free, _ = fit(graphs, y)
        bounded, _ = fit(graphs, y, bounds=(0.0, 1.0))
        bounded.load_state_dict(free.state_dict())
        batch = graphs.batch(dtype=torch.float64)
        expected = free.predict(batch)["atom_values"]
        assert float(expected.min()) < 0 or float(expected.max()) > 1
        assert torch.equal(bounded.predict(batch)["atom_values"], expected.clamp(0.0, 1.0))

    def test_labels_out_of_bounds_are_refused(self, graphs, y):
        y = [np.abs(values) for values in y]
        y[5][1] = -0.5
        with pytest.raises(ValueError, match=r"y is -0.5 at row 5, outside of bounds=\(0, None\)"):
            AtomTargets(bounds=(0, None)).make_targets(graphs, y)
