"""What scikit-learn asks of a transformer, on structures: its checks, its tools, and pooling."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, get_tags

from cases import random_structures
from fingerprints.shared import FINGERPRINTS
from gnnpre import EAD, GMP, WACSF, StructureToGraph
from gnnpre.datasets import make_emt_frames

STRUCTURES = list(random_structures().values())
POOLINGS = ["mean", "sum", "cumulants"]
CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@pytest.fixture(params=FINGERPRINTS)
def fingerprint(request):
    return clone(FINGERPRINTS[request.param])


@pytest.fixture(scope="module")
def data():
    """Structures and a property that fingerprints can tell: the volume."""
    structures, _ = make_emt_frames(30, max_atoms=4, random_state=0)
    return structures, np.array([structure.volume for structure in structures])


def assert_same(remaining, right):
    for one, alternative in zip(remaining, right, strict=True):
        np.testing.assert_array_equal(one, alternative)


# The estimator


@pytest.mark.parametrize("category", [WACSF, EAD, GMP])
@pytest.mark.parametrize("check", CHECKS)
def test_check_of_scikit_learn(category, check):
    getattr(estimator_checks, check)(category.__name__, category())


def test_tags(fingerprint):
    tags = get_tags(fingerprint)
    assert not tags.requires_fit
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required
    assert not tags.non_deterministic


def test_fit_returns_self_and_learns_nothing(fingerprint):
    before = {**vars(fingerprint)}
    assert fingerprint.fit(STRUCTURES) is fingerprint
    assert vars(fingerprint) == before
    assert_same(fingerprint.fit_transform(STRUCTURES), clone(fingerprint).transform(STRUCTURES))


@pytest.mark.parametrize(
    "copied",
    [clone, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=["clone", "deepcopy", "pickle"],
)
def test_copies_give_the_same(fingerprint, copied):
    expected = fingerprint.fit(STRUCTURES).transform(STRUCTURES)
    alternative = copied(fingerprint)
    assert alternative.get_params() == fingerprint.get_params()
    assert_same(alternative.transform(STRUCTURES), expected)


def test_parameters_can_be_lists_and_arrays():
    expected = WACSF(4.0, g2_rs=(1.0, 2.0)).transform(STRUCTURES)
    for category in (list, np.array):
        assert_same(WACSF(4.0, g2_rs=category([1.0, 2.0])).transform(STRUCTURES), expected)
    expected = GMP((0.5, 1.0), (-1, 2)).transform(STRUCTURES)
    for category in (list, np.array):
        result = GMP(category([0.5, 1.0]), category([-1, 2])).transform(STRUCTURES)
        assert_same(result, expected)


def test_changed_parameters_count(fingerprint):
    before = fingerprint.set_params(pooling="mean").transform(STRUCTURES)
    name = "sigmas" if isinstance(fingerprint, GMP) else "cutoff"
    changed = fingerprint.set_params(**{name: (0.4,) if name == "sigmas" else 3.0})
    after = changed.transform(STRUCTURES)
    assert after.shape[1] == len(changed.get_feature_names_out())
    assert before.shape != after.shape or (before != after).any()


def test_inputs_are_not_touched(fingerprint):
    structures = [atoms.copy() for atoms in STRUCTURES]
    before = [(joblib.hash(atoms.arrays), joblib.hash(atoms.cell.array)) for atoms in structures]
    whole = joblib.hash(structures)
    fingerprint.fit(structures).transform(structures)
    after = [(joblib.hash(atoms.arrays), joblib.hash(atoms.cell.array)) for atoms in structures]
    assert before == after
    assert joblib.hash(structures) == whole


@pytest.mark.parametrize("cutoff", [3.0, 5.0])
def test_graphs_are_not_touched(fingerprint, cutoff):
    graphs = StructureToGraph(cutoff).transform(STRUCTURES)
    before = pickle.dumps([graphs.positions, graphs.edge_index, graphs.edge_shift])
    fingerprint.fit(graphs).transform(graphs)
    assert pickle.dumps([graphs.positions, graphs.edge_index, graphs.edge_shift]) == before
    assert graphs.settings.cutoff == cutoff


def test_the_result_is_the_callers(fingerprint):
    first = fingerprint.transform(STRUCTURES)
    expected = [values.copy() for values in first]
    for values in first:
        values[:] = 0.0
    assert_same(fingerprint.transform(STRUCTURES), expected)


def test_a_named_device_gives_the_same(fingerprint):
    expected = fingerprint.transform(STRUCTURES)
    assert_same(fingerprint.set_params(device="cpu").transform(STRUCTURES), expected)


@pytest.mark.parametrize("container", [tuple, pd.Series], ids=["tuple", "Series"])
def test_containers(fingerprint, container, data):
    chosen = data[0][:4]  # equal-sized, of pymatgen
    assert_same(fingerprint.transform(container(chosen)), fingerprint.transform(chosen))


# Pooling and names


def pooled(values, pooling):
    mean = values.mean(axis=0)
    if pooling == "sum":
        return values.sum(axis=0)
    if pooling == "mean":
        return mean
    return np.concatenate([mean, values.var(axis=0), ((values - mean) ** 3).mean(axis=0)])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_against_numpy(fingerprint, pooling):
    atoms = fingerprint.transform(STRUCTURES)
    expected = np.array([pooled(values, pooling) for values in atoms])
    result = fingerprint.set_params(pooling=pooling).transform(STRUCTURES)
    assert result.shape == expected.shape
    # Central moments of alike atoms are noise beside the powers of their mean.
    third = expected.shape[1] // 3
    size = np.abs(expected[:, :third] if pooling == "cumulants" else expected)
    powers = np.hstack([size, size**2, size**3]) if pooling == "cumulants" else size
    assert (np.abs(result - expected) <= 1e-12 * powers + 1e-12 * np.abs(expected)).all()


def test_pooling_of_a_single_atom(fingerprint):
    single = [STRUCTURES[2]]
    assert len(single[0]) == 1
    row = fingerprint.transform(single)[0]
    result = fingerprint.set_params(pooling="cumulants").transform(single)
    np.testing.assert_array_equal(result, np.hstack([row, 0 * row, 0 * row]))


@pytest.mark.parametrize("pooling", [None, *POOLINGS])
def test_atom_features_whatever_the_pooling(fingerprint, pooling):
    expected = np.concatenate(fingerprint.transform(STRUCTURES))
    fingerprint.set_params(pooling=pooling)
    np.testing.assert_array_equal(fingerprint.atom_features(STRUCTURES), expected)
    assert fingerprint.pooling == pooling


def test_names_of_atom_features(fingerprint):
    names = fingerprint.atom_feature_names()
    assert len(set(names)) == len(names) == fingerprint.atom_features(STRUCTURES).shape[1]
    assert not hasattr(fingerprint, "get_feature_names_out")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_names_of_pooled_features(fingerprint, pooling):
    values = fingerprint.set_params(pooling=pooling).transform(STRUCTURES)
    names = fingerprint.get_feature_names_out()
    assert len(set(names)) == len(names) == values.shape[1]
    assert all(name.startswith(pooling.rstrip("s")) for name in names)


def test_names_are_those_of_their_columns():
    """Each feature computed alone is the column of its name."""
    whole = WACSF(4.0, g4_zeta=(1.0, 2.5), pooling="mean").set_output(transform="pandas")
    for zeta, sign in [(1.0, -1.0), (2.5, 1.0)]:
        alone = WACSF(4.0, g2_eta=(), g4_zeta=(zeta,), g4_lambda=(sign,), g5_eta=(), pooling="mean")
        (name,) = alone.get_feature_names_out()
        column = whole.transform(STRUCTURES)[name]
        np.testing.assert_allclose(column, alone.transform(STRUCTURES)[:, 0], rtol=1e-12)
    whole = EAD(4.0, eta=(1.0, 4.0), rs=(1.5, 2.5), pooling="sum").set_output(transform="pandas")
    alone = EAD(4.0, eta=(4.0,), rs=(2.5,), L=1, pooling="sum")
    for index, name in enumerate(alone.get_feature_names_out()):
        column = whole.transform(STRUCTURES)[name]
        np.testing.assert_allclose(column, alone.transform(STRUCTURES)[:, index], rtol=1e-12)
    whole = GMP((0.5, 1.0), (2, -1, 0), pooling="sum").set_output(transform="pandas")
    for settings in ({"sigmas": (1.0,), "orders": (2,)}, {"sigmas": (0.5,), "orders": (0,)}):
        alone = GMP(**settings, pooling="sum")
        (name,) = alone.get_feature_names_out()
        column = whole.transform(STRUCTURES)[name]
        np.testing.assert_allclose(column, alone.transform(STRUCTURES)[:, 0], rtol=1e-6)


def test_close_parameters_have_names_of_their_own():
    """Numbers that share their first six digits are not one feature."""
    names = EAD(4.0, L=0, rs=(2.0, 2.0000001)).atom_feature_names()
    assert len(set(names)) == 2


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pandas_output(fingerprint, pooling):
    fingerprint.set_params(pooling=pooling)
    expected = fingerprint.transform(STRUCTURES)
    table = fingerprint.set_output(transform="pandas").fit_transform(STRUCTURES)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == list(fingerprint.get_feature_names_out())
    np.testing.assert_array_equal(table.to_numpy(), expected)


# scikit-learn's tools


def test_cross_validation_of_a_pipeline(data):
    # More columns than rows: a solver that takes them.
    model = make_pipeline(EAD(pooling="mean"), Ridge(solver="svd"))
    assert np.isfinite(cross_val_score(model, *data, cv=3)).all()
    assert model.fit(*data).score(*data) > 0.7


def test_a_pipeline_from_graphs(data):
    structures, y = data
    last = [WACSF(pooling="cumulants"), StandardScaler(), Ridge()]
    model = make_pipeline(StructureToGraph(5.0), *last).fit(structures, y)
    direct = make_pipeline(*(clone(step) for step in last)).fit(structures, y)
    np.testing.assert_allclose(model.predict(structures), direct.predict(structures), rtol=1e-6)
    assert len(model[1:-1].get_feature_names_out()) == model[-1].n_features_in_


def test_feature_union(data):
    parts = [("wacsf", WACSF(pooling="mean")), ("gmp", GMP((0.5,), (0, 1), pooling="sum"))]
    union = FeatureUnion(parts)
    result = union.fit_transform(data[0])
    expected = np.hstack([piece.transform(data[0]) for _, piece in parts])
    np.testing.assert_array_equal(result, expected)
    names = union.get_feature_names_out()
    assert names[0] == "wacsf__mean_g2_eta4_rs1"
    assert names[-1] == "gmp__sum_gmp_order1_sigma0.5"


def test_search_over_parameters(data):
    model = make_pipeline(EAD(4.0, pooling="mean"), Ridge(solver="svd"))
    search = GridSearchCV(model, {"ead__L": [0, 1], "ead__pooling": ["mean", "cumulants"]}, cv=2)
    search.fit(*data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"].round(9))) == 4
