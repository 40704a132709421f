"""PropertyRegressor on atoms, vectors and tensors; names of columns; bounds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    AtomTargets,
    Denoising,
    Pretrainer,
    PropertyRegressor,
    StructureToGraph,
    TorchMDNet,
)
from gnnpre.estimators._property_forms import form_of_target
from gnnpre.model_selection import masked_scorer

SMALL = {"max_epochs": 2, "batch_size": 8, "random_state": 0}
BACKBONES = {"atom": CGCNN(8, 1), "vector": TorchMDNet(8, 1), "tensor": TorchMDNet(8, 1)}


def moments(structures):
    """Values of atoms: their number of neighbours within 3 Å, plus a number of the element."""
    values = []
    for structure in structures:
        neighbors = np.array([len(sites) for sites in structure.get_all_neighbors(3.0)])
        values.append(0.1 * neighbors + 0.05 * np.array(structure.atomic_numbers))
    return values


def edge_sums(structures):
    """Vectors (n, 3) and matrices (n, 3, 3) of crystals, from the directions of their bonds."""
    vectors, matrices = [], []
    for structure in structures:
        centers, points, images, _ = structure.get_neighbor_list(3.5)
        bonds = structure.cart_coords[points] - structure.cart_coords[centers]
        bonds = bonds + images @ structure.lattice.matrix
        lengths = np.linalg.norm(bonds, axis=1)
        directions = bonds / lengths[:, None]
        weights = np.exp(-lengths) / len(structure)
        numbers = np.array(structure.atomic_numbers)[points]
        vectors.append((weights * numbers) @ directions)
        matrices.append(np.einsum("e,ei,ej->ij", weights, directions, directions))
    return np.array(vectors), np.array(matrices)


def bond_tensors(structures):
    return edge_sums(structures)[1]


def labels_of(target, structures):
    vectors, tensors = edge_sums(structures)
    return {"atom": moments(structures), "vector": vectors, "tensor": tensors}[target]


def make(target, **parameters):
    return PropertyRegressor(BACKBONES[target], target=target, **{**SMALL, **parameters})


def joined(predicted):
    return np.concatenate(list(predicted)) if predicted.dtype == object else predicted


@pytest.fixture(params=["atom", "vector", "tensor"])
def target(request):
    return request.param


class TestContract:
    def test_predictions_have_the_form_of_y(self, data, target):
        y = labels_of(target, data.structures)
        predicted = make(target).fit(data.structures, y).predict(data.structures)
        if target == "atom":
            assert predicted.shape == (20,)
            assert [len(values) for values in predicted] == [len(values) for values in y]
        else:
            assert predicted.shape == y.shape

    def test_a_file_holds_it(self, data, target, tmp_path):
        model = make(target).fit(data.graphs, labels_of(target, data.structures))
        model.save(tmp_path / "model.gnnpre")
        loaded = PropertyRegressor.load(tmp_path / "model.gnnpre")
        expected = joined(model.predict(data.graphs))
        np.testing.assert_array_equal(joined(loaded.predict(data.graphs)), expected)
        assert loaded.target == target

    def test_clones_repeat_it(self, data, target):
        y = labels_of(target, data.structures)
        first = make(target).fit(data.graphs, y)
        second = clone(first).fit(data.graphs, y)
        np.testing.assert_array_equal(
            joined(first.predict(data.graphs)), joined(second.predict(data.graphs))
        )

    def test_cross_validation_of_a_pipeline(self, data, target):
        y = labels_of(target, data.structures)
        pipeline = make_pipeline(StructureToGraph(cutoff=4.0), make(target))
        groups = np.arange(20) % 4
        scores = cross_val_score(pipeline, data.structures, y, cv=GroupKFold(2), groups=groups)
        assert np.isfinite(scores).all()
        scorer = masked_scorer("neg_mean_absolute_error")
        errors = cross_val_score(pipeline, data.structures, y, cv=2, scoring=scorer)
        predicted = cross_val_predict(pipeline, data.structures, y, cv=2)
        folds = [slice(0, 10), slice(10, 20)]
        y = np.array([*y, None], dtype=object)[:-1] if target == "atom" else y
        expected = [-np.abs(joined(predicted[f]) - joined(y[f])).mean() for f in folds]
        np.testing.assert_allclose(errors, expected, rtol=1e-6)

    def test_weights_and_groups_are_used(self, data, target):
        y = labels_of(target, data.structures)
        plain = make(target).fit(data.graphs, y)
        weighted = make(target).fit(data.graphs, y, sample_weight=np.linspace(0, 1, 20))
        grouped = make(target).fit(data.graphs, y, groups=np.arange(20) // 10)
        for model in (weighted, grouped):
            differences = joined(model.predict(data.graphs)) - joined(plain.predict(data.graphs))
            assert np.abs(differences).max() > 0
        weights = np.linspace(0, 1, 20)
        assert plain.score(data.graphs, y, weights) != plain.score(data.graphs, y)

    def test_a_pretrained_model_is_diagnosed(self, data, target, tmp_path):
        y = labels_of(target, data.structures)
        path = tmp_path / "first.gnnpre"
        Pretrainer(BACKBONES[target], Denoising(), **SMALL).fit(data.graphs).save(path)
        model = PropertyRegressor(
            pretrained=str(path), target=target, validation_fraction=0.5, **SMALL
        )
        assert model.fit(data.graphs, y).diagnosis_.keys() == {
            "zero_epochs",
            "final",
            "training",
            "unmoved",
        }

    def test_there_are_no_uncertainties(self, data, target):
        model = make(target).fit(data.graphs, labels_of(target, data.structures))
        for call in (model.predict_interval, model.distance, lambda X: model.predict(X, True)):
            with pytest.raises(ValueError, match="only for models with target='crystal'"):
                call(data.graphs)

    @pytest.mark.parametrize(
        ("parameters", "match"),
        [
            ({"readout": "early"}, "Set readout='late'"),
            ({"calibration_fraction": 0.2}, "target='crystal'. Set calibration_fraction=0"),
            ({"pooling": "max"}, "pooling"),
        ],
    )
    def test_parameters_that_mean_nothing_are_refused(self, data, target, parameters, match):
        with pytest.raises(ValueError, match=match):
            make(target, **parameters).fit(data.graphs, labels_of(target, data.structures))


def test_numbers_and_texts_of_numpy_are_those_of_python():
    # The grid of a search may be an array.
    parameters = {
        "target": "atom",
        "pooling": np.str_("mean"),
        "calibration_fraction": np.float64(),
    }
    assert isinstance(form_of_target("atom").make_objective(parameters), AtomTargets)
    with pytest.raises(ValueError, match="calibration_fraction"):
        form_of_target("atom").make_objective({**parameters, "calibration_fraction": np.float64(1)})


def test_unknown_targets_are_refused(data):
    with pytest.raises(ValueError, match=r"target='atoms'; expected one of \['crystal', 'atom'"):
        PropertyRegressor(target="atoms").fit(data.graphs, data.y)


@pytest.mark.parametrize("target", ["vector", "tensor"])
def test_invariant_backbones_are_refused(data, target):
    model = PropertyRegressor(CGCNN(8, 1), target=target, **SMALL)
    with pytest.raises(ValueError, match=r"needs a backbone with vectors.*TorchMDNet\(\)"):
        model.fit(data.graphs, labels_of(target, data.structures))


def test_tensors_have_no_bounds(data):
    with pytest.raises(ValueError, match=r"depend on the axes\. Set bounds=None"):
        make("tensor", bounds=(0, None)).fit(data.graphs, bond_tensors(data.structures))


class TestAtoms:
    def test_they_are_learnt(self, data):
        y = moments(data.structures)
        model = make("atom", max_epochs=40, learning_rate=0.01).fit(data.graphs, y)
        assert model.score(data.graphs, y) > 0.8

    def test_the_score_is_over_atoms_with_a_label(self, data):
        y = moments(data.structures)
        y[3] = None
        y[4] = np.r_[np.nan, y[4][1:]]
        model = make("atom").fit(data.graphs, y)
        rows = [values for row, values in enumerate(y) if row != 3]
        predicted = np.concatenate(list(np.delete(model.predict(data.graphs), 3)))
        true = np.concatenate(rows)
        present = np.isfinite(true)
        residuals, true = (true - predicted)[present], true[present]
        expected = 1 - (residuals**2).sum() / ((true - true.mean()) ** 2).sum()
        assert model.score(data.graphs, y) == pytest.approx(expected)

    def test_a_series_of_arrays(self, data):
        y = moments(data.structures)
        expected = make("atom").fit(data.graphs, y).predict(data.graphs)
        series = pd.Series(y, index=[f"mp-{i}" for i in range(20)])
        predicted = make("atom").fit(data.graphs, series).predict(data.graphs)
        np.testing.assert_array_equal(joined(predicted), joined(expected))

    def test_moments_have_bounds(self, data):
        y = [values - values.min() for values in moments(data.structures)]
        model = make("atom", bounds=(0, None)).fit(data.graphs, y)
        assert joined(model.predict(data.graphs)).min() >= 0


class TestTensors:
    def test_they_are_learnt(self, data):
        for target in ("vector", "tensor"):
            y = labels_of(target, data.structures)
            model = make(target, max_epochs=60, learning_rate=0.01, validation_fraction=0)
            assert model.fit(data.graphs, y).score(data.graphs, y) > 0.5

    def test_the_score_is_against_the_mean_isotropic_tensor(self, data):
        y = bond_tensors(data.structures)
        model = make("tensor").fit(data.graphs, y)
        isotropic = np.trace(y, axis1=1, axis2=2).mean() / 3 * np.eye(3)
        unexplained = ((model.predict(data.graphs) - y) ** 2).sum()
        expected = 1 - unexplained / ((y - isotropic) ** 2).sum()
        assert model.score(data.graphs, y) == pytest.approx(expected)

    def test_columns_of_a_table_are_named(self, data):
        y = bond_tensors(data.structures)
        names = ["xx", "yy", "zz", "yz", "xz", "xy"]
        table = pd.DataFrame(y[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], columns=names)
        predicted = make("tensor").fit(data.graphs, table).predict(data.graphs)
        assert list(predicted.columns) == names
        expected = make("tensor").fit(data.graphs, y).predict(data.graphs)
        np.testing.assert_allclose(predicted["yz"], expected[:, 1, 2], atol=1e-6)

    def test_missing_tensors_are_refused(self, data):
        y = bond_tensors(data.structures)
        y[7] = np.nan
        with pytest.raises(ValueError, match=r"missing \(NaN\) for 1 of 20.*row 7"):
            make("tensor").fit(data.graphs, y)

    def test_a_series_of_tensors(self, data):
        y = bond_tensors(data.structures)
        series = pd.Series(list(y))
        expected, model = (make("tensor").fit(data.graphs, labels) for labels in (y, series))
        np.testing.assert_array_equal(model.predict(data.graphs), expected.predict(data.graphs))
        assert model.score(data.graphs, series) == expected.score(data.graphs, y)


class TestNames:
    def table(self, data):
        index = [f"mp-{i}" for i in range(20)]
        X = pd.DataFrame({"structure": list(data.structures)}, index=index)
        return X, pd.DataFrame({"volume": data.y, "twice": 2 * data.y}, index=index)

    def test_predictions_have_the_columns_of_y_and_the_index_of_x(self, data, tmp_path):
        X, y = self.table(data)
        model = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.5, **SMALL)
        model.fit(X, y).save(tmp_path / "model.gnnpre")
        loaded = PropertyRegressor.load(tmp_path / "model.gnnpre")
        tables = [
            model.predict(X[3:9]),
            *model.predict(X[3:9], return_std=True),
            *model.predict_interval(X[3:9], confidence=0.5),
            loaded.predict(X[3:9]),
        ]
        for table in tables:
            assert list(table.columns) == ["volume", "twice"]
            assert list(table.index) == [f"mp-{i}" for i in range(3, 9)]
        pd.testing.assert_frame_equal(tables[0], tables[-1])

    def test_graphs_keep_the_index(self, data):
        X, y = self.table(data)
        pipeline = make_pipeline(StructureToGraph(4.0), PropertyRegressor(CGCNN(8, 1), **SMALL))
        assert list(pipeline.fit(X, y).predict(X).index) == list(X.index)

    def test_without_an_index_rows_are_numbered(self, data):
        _, y = self.table(data)
        model = PropertyRegressor(CGCNN(8, 1), **SMALL).fit(data.graphs, y)
        predicted = model.predict(data.structures)
        assert list(predicted.index) == list(range(20))

    def test_columns_without_names_keep_their_numbers(self, data, tmp_path):
        model = PropertyRegressor(CGCNN(8, 1), **SMALL)
        model.fit(data.graphs, pd.DataFrame({0: data.y, 1: data.y})).save(tmp_path / "m.gnnpre")
        predicted = PropertyRegressor.load(tmp_path / "m.gnnpre").predict(data.graphs)
        assert list(predicted.columns) == [0, 1]

    def test_arrays_and_series_are_predicted_as_arrays(self, data):
        X, y = self.table(data)
        for labels in (y["volume"], y.to_numpy()):
            model = PropertyRegressor(CGCNN(8, 1), **SMALL).fit(X, labels)
            assert type(model.predict(X)) is np.ndarray

    def test_scores_are_those_of_arrays(self, data):
        X, y = self.table(data)
        model = PropertyRegressor(CGCNN(8, 1), **SMALL).fit(X, y)
        assert model.score(X, y) == model.score(X, y.to_numpy())


class TestBounds:
    @pytest.fixture
    def gaps(self, data):
        return np.maximum(data.y - np.median(data.y), 0.0)

    def make(self, **parameters):
        training = {**SMALL, "max_epochs": 20, "learning_rate": 0.02}
        return PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.4, **training, **parameters)

    def test_predictions_and_intervals_are_clipped(self, data, gaps):
        free = self.make().fit(data.graphs, gaps)
        bounded = self.make(bounds=(0, None)).fit(data.graphs, gaps)
        predicted = free.predict(data.graphs)
        assert predicted.min() < 0
        np.testing.assert_array_equal(bounded.predict(data.graphs), np.maximum(predicted, 0))
        lower, upper = bounded.predict_interval(data.graphs, confidence=0.5)
        assert lower.min() == 0
        assert (lower <= bounded.predict(data.graphs)).all()
        assert (upper >= bounded.predict(data.graphs)).all()

    def test_standard_deviations_are_those_of_clipped_predictions(self, data, gaps):
        values, std = self.make(bounds=(0, None)).fit(data.graphs, gaps).predict(data.graphs, True)
        _, free_std = self.make().fit(data.graphs, gaps).predict(data.graphs, True)
        assert values.min() >= 0
        assert (std > 0).all()
        assert (std <= free_std).all()

    def test_a_file_holds_them(self, data, gaps, tmp_path):
        self.make(bounds=(0, 3.5)).fit(data.graphs, gaps).save(tmp_path / "m.gnnpre")
        loaded = PropertyRegressor.load(tmp_path / "m.gnnpre")
        assert loaded.bounds == (0, 3.5)
        assert loaded.predict(data.graphs).min() >= 0

    def test_labels_out_of_bounds_are_refused(self, data, gaps):
        y = pd.Series(gaps - 0.1, index=[f"mp-{i}" for i in range(20)])
        with pytest.raises(ValueError, match=r"y is -0.1 at rows .*outside of bounds=\(0, None\)"):
            self.make(bounds=(0, None)).fit(data.graphs, y)

    @pytest.mark.parametrize(
        "bounds", [0, (0,), (1, 0), (0, 0), ("0", None), (np.nan, None), (True, None), (0, np.inf)]
    )
    def test_other_bounds_are_refused(self, data, bounds):
        with pytest.raises(ValueError, match="bounds="):
            self.make(bounds=bounds).fit(data.graphs, data.y)
