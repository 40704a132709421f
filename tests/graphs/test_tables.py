"""Rows of tables keep the labels, and columns the names, of the table that crystals come from."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import FeatureUnion, make_pipeline

from gnnpre import CGCNN, EAD, FingerprintTargets, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property
from gnnpre.graphs import CrystalGraphs, Crystals

CUTOFF = 4.0
INDICES = {
    "shuffled": lambda n: np.random.default_rng(0).permutation(n),
    "no permutation": lambda n: np.arange(n)[::-1] * 3 + 5,
    "strings": lambda n: [f"mb-jdft2d-{i:03d}" for i in range(n)],
    "repeated": lambda n: np.arange(n) // 2,
    "dates": lambda n: pd.date_range("2026-01-01", periods=n, name="day"),
    "two levels": lambda n: pd.MultiIndex.from_arrays(
        [["a", "b"] * (n // 2), np.arange(n)], names=["source", "row"]
    ),
}


@pytest.fixture(scope="module")
def data():
    return make_emt_property(16, random_state=0)


@pytest.fixture(scope="module")
def fingerprint():
    return EAD(cutoff=CUTOFF, L=1, pooling="mean")


@pytest.fixture(scope="module")
def expected(data, fingerprint):
    """Fingerprints of each crystal, row after row."""
    return fingerprint.transform(data[0])


@pytest.fixture(params=INDICES)
def table(request, data):
    structures, y = data
    return pd.DataFrame({"structure": structures, "y": y}, index=INDICES[request.param](len(y)))


@pytest.fixture(scope="module")
def pretrainer(data):
    pretrainer = Pretrainer(
        CGCNN(8, 1), FingerprintTargets(EAD(cutoff=CUTOFF)), max_epochs=1, random_state=0
    )
    return pretrainer.fit(StructureToGraph(CUTOFF).transform(data[0]))


def test_graphs_carry_the_index_of_their_table(table):
    for X in (table["structure"], table[["structure"]], Crystals.from_structures(table.structure)):
        graphs = StructureToGraph(CUTOFF).fit_transform(X)
        assert graphs.index.equals(table.index)
    assert StructureToGraph(CUTOFF).fit_transform(list(table.structure)).index is None


def test_the_index_goes_where_the_graphs_go(table, tmp_path):
    graphs = StructureToGraph(CUTOFF).fit_transform(table.structure)
    rows = np.array([3, 0, 3, 9])
    assert graphs[rows].index.equals(table.index[rows])
    assert graphs[2:5].index.equals(table.index[2:5])
    assert graphs[table["y"].to_numpy() > 0].index.equals(table.index[table["y"] > 0])
    assert CrystalGraphs.concatenate([graphs[:3], graphs[3:]]).index.equals(table.index)
    assert graphs.to_crystals().index.equals(table.index)
    assert pickle.loads(pickle.dumps(graphs)).index.equals(table.index)
    graphs.save(tmp_path / "graphs")
    loaded = CrystalGraphs.load(tmp_path / "graphs")
    assert loaded.index.equals(table.index)
    assert loaded.index.names == table.index.names


def test_graphs_without_an_index_do_not_join_with_one(data, table):
    with_index = StructureToGraph(CUTOFF).fit_transform(table.structure)
    without = StructureToGraph(CUTOFF).fit_transform(data[0])
    assert CrystalGraphs.concatenate([with_index, without]).index is None


@pytest.mark.parametrize("how", ["set_output", "config"])
def test_fingerprints_of_graphs_are_labelled(table, fingerprint, expected, how):
    pipeline = make_pipeline(StructureToGraph(CUTOFF), EAD(**fingerprint.get_params()))
    if how == "set_output":
        result = pipeline.set_output(transform="pandas").fit_transform(table.structure)
    else:
        with config_context(transform_output="pandas"):
            result = pipeline.fit_transform(table.structure)
    assert result.index.equals(table.index)
    assert list(result.columns) == list(fingerprint.get_feature_names_out())
    np.testing.assert_allclose(result.to_numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("fit", [True, False], ids=["fit_transform", "transform"])
def test_rows_of_a_column_transformer_belong_together(table, pretrainer, fit):
    embedding = Pretrainer(**pretrainer.get_params(deep=False))
    columns = ColumnTransformer(
        [
            ("gnn", make_pipeline(StructureToGraph(CUTOFF), embedding), "structure"),
            ("y", "passthrough", ["y"]),
        ]
    ).set_output(transform="pandas")
    result = columns.fit_transform(table)
    if not fit:
        table = table[:11]
        result = columns.transform(table)
    assert result.index.equals(table.index)
    np.testing.assert_array_equal(result["y__y"], table["y"])
    names = [f"gnn__{name}" for name in pretrainer.get_feature_names_out()] + ["y__y"]
    assert list(result.columns) == names == list(columns.get_feature_names_out())


def test_rows_of_a_feature_union_belong_together(table, pretrainer, fingerprint, expected):
    embedding = Pretrainer(**pretrainer.get_params(deep=False))
    union = FeatureUnion(
        [("gnn", make_pipeline(StructureToGraph(CUTOFF), embedding)), ("ead", fingerprint)]
    )
    if table.index.is_unique:  # pandas joins tables by unique labels, or by equal ones
        result = union.set_output(transform="pandas").fit_transform(table.structure)
        assert result.index.equals(table.index)
        assert list(result.columns) == list(union.get_feature_names_out())
        assert result.columns[-1].startswith("ead__")
        np.testing.assert_allclose(result.to_numpy()[:, -expected.shape[1] :], expected, rtol=1e-5)


def test_embeddings_of_a_regressor_are_labelled(table):
    regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    graphs = StructureToGraph(CUTOFF).fit_transform(table.structure)
    regressor.fit(graphs, table["y"])
    rows = regressor.set_output(transform="pandas").transform(graphs[::-1])
    assert rows.index.equals(table.index[::-1])
    np.testing.assert_allclose(rows.to_numpy(), regressor.embed(graphs)[::-1], rtol=1e-6)


def test_after_train_test_split(data, pretrainer):
    structures, y = data
    table = pd.DataFrame({"structure": structures, "y": y})
    train, test = train_test_split(table, random_state=0)
    columns = ColumnTransformer(
        [
            (
                "gnn",
                make_pipeline(StructureToGraph(CUTOFF), EAD(cutoff=CUTOFF, pooling="sum")),
                "structure",
            ),
            ("y", "passthrough", ["y"]),
        ]
    ).set_output(transform="pandas")
    for side in (train, test):
        result = columns.fit_transform(side)
        assert result.index.equals(side.index)
        np.testing.assert_array_equal(result["y__y"], side["y"])


def test_default_output_stays_an_array(table, fingerprint):
    graphs = StructureToGraph(CUTOFF).fit_transform(table.structure)
    assert isinstance(EAD(cutoff=CUTOFF, pooling="mean").transform(graphs), np.ndarray)
    assert isinstance(EAD(cutoff=CUTOFF).set_output(transform="pandas").transform(graphs), list)


def test_feature_names_of_a_pipeline_that_begins_with_graphs(table, fingerprint):
    pipeline = make_pipeline(StructureToGraph(CUTOFF), EAD(**fingerprint.get_params()))
    names = pipeline.fit(table.structure).get_feature_names_out()
    np.testing.assert_array_equal(names, fingerprint.get_feature_names_out())


def test_feature_names_of_graphs(data):
    transformer = StructureToGraph(CUTOFF)
    assert transformer.get_feature_names_out().tolist() == ["structure"]
    assert transformer.get_feature_names_out(["relaxed"]).tolist() == ["relaxed"]
    transformer.fit(pd.DataFrame({"relaxed": data[0]}))
    assert transformer.get_feature_names_out().tolist() == ["relaxed"]
    transformer.fit(data[0])
    assert transformer.get_feature_names_out().tolist() == ["structure"]


@pytest.mark.parametrize("index", [[1, 2], "wrong", 3], ids=str)
def test_an_index_of_wrong_length(data, index):
    graphs = StructureToGraph(CUTOFF).transform(data[0])
    with pytest.raises((ValueError, TypeError), match="index"):
        CrystalGraphs(**graphs._fields(), settings=graphs.settings, index=index)


def test_an_index_that_cannot_be_saved_says_so(data, tmp_path):
    series = pd.Series(data[0], index=[object() for _ in data[0]])
    graphs = StructureToGraph(CUTOFF).transform(series)
    with pytest.raises(ValueError, match=r"index of type .* cannot be saved: .* reset_index"):
        graphs.save(tmp_path / "graphs")
    assert list(tmp_path.iterdir()) == []
