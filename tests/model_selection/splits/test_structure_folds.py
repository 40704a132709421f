"""Folds that keep related crystals together."""

import copy
import random
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from ase.build import bulk
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from gnnpre import CGCNN, EAD, Denoising, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_frames, read_matbench
from gnnpre.model_selection import (
    ChemicalSystemKFold,
    CompositionKFold,
    FingerprintClusterKFold,
    PrototypeKFold,
)

SPLITTERS = {
    "composition": CompositionKFold,
    "chemical_system": ChemicalSystemKFold,
    "prototype": PrototypeKFold,
    "clusters": FingerprintClusterKFold,
}
ORACLES = {
    "composition": lambda s: s.composition.reduced_composition,
    "chemical_system": lambda s: frozenset(s.composition.elements),
    "prototype": lambda s: (
        tuple(sorted(s.composition.reduced_composition.values())),
        SpacegroupAnalyzer(s, 0.1).get_space_group_number(),
    ),
}


@pytest.fixture(scope="module")
def crystals(data_dir):
    """Crystals of jdft2d, and each third of them again as a supercell."""
    structures, y = read_matbench(data_dir / "downstream" / "jdft2d.json.gz")
    small = [i for i, structure in enumerate(structures) if len(structure) <= 6]
    systems = {i: structures[i].copy().composition.chemical_system for i in small}
    # First those whose elements others have too: alone, every kind of group would be the same.
    counts = Counter(systems.values())
    small = sorted(small, key=lambda i: counts[systems[i]] == 1)[:45]
    chosen = [structures[i] for i in small]
    repeated = [structure.copy() * (2, 1, 1) for structure in chosen[::3]]
    target = y.to_numpy()[small]
    return chosen + repeated, np.concatenate([target, target[::3]])


def fold_numbers(splitter, X, y=None):
    folds = np.full(len(X), -1)
    for fold, (train, test) in enumerate(splitter.split(X, y)):
        assert not set(train) & set(test)
        assert sorted([*train, *test]) == list(range(len(X)))
        assert (folds[test] == -1).all()
        folds[test] = fold
    assert (folds >= 0).all()
    return folds


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", SPLITTERS)
def test_folds_are_disjoint_complete_and_the_same_each_time(crystals, name, shuffle):
    splitter = SPLITTERS[name](3, shuffle=shuffle, random_state=5 if shuffle else None)
    X, y = crystals
    folds = fold_numbers(splitter, X, y)
    assert set(folds) == {0, 1, 2}
    np.testing.assert_array_equal(fold_numbers(copy.deepcopy(splitter), X), folds)
    assert splitter.get_n_splits(X, y) == splitter.n_splits == 3


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_no_group_is_split(crystals, name, shuffle):
    X, _ = crystals
    folds = fold_numbers(SPLITTERS[name](4, shuffle=shuffle), X)
    groups = [ORACLES[name](structure.copy()) for structure in X]
    assert len(set(groups)) < len(X) - 15  # more than the supercells alone would make
    assert len(set(zip(groups, folds.tolist(), strict=True))) == len(set(groups))


def test_supercells_are_in_the_cluster_of_their_cell(crystals):
    X, _ = crystals
    folds = fold_numbers(FingerprintClusterKFold(3, n_clusters=20), X)
    np.testing.assert_array_equal(folds[45:], folds[:45:3])


@pytest.mark.parametrize("shuffle", [False, True])
def test_folds_are_as_even_as_those_of_group_k_fold(crystals, shuffle):
    X, _ = crystals
    groups = [structure.copy().composition.chemical_system for structure in X]
    expected = sorted(len(test) for _, test in GroupKFold(5).split(X, groups=groups))
    folds = fold_numbers(ChemicalSystemKFold(5, shuffle=shuffle), X)
    assert sorted(Counter(folds.tolist()).values()) == expected


@pytest.mark.parametrize("name", ORACLES)
def test_the_order_of_crystals_does_not_matter(crystals, name):
    X, _ = crystals
    order = np.random.default_rng(3).permutation(len(X))
    folds = fold_numbers(SPLITTERS[name](4), X)
    permuted = fold_numbers(SPLITTERS[name](4), [X[i] for i in order])
    np.testing.assert_array_equal(permuted, folds[order])


@pytest.mark.parametrize("name", SPLITTERS)
def test_seeds_give_different_folds(crystals, name):
    X, _ = crystals
    found = [
        tuple(fold_numbers(SPLITTERS[name](3, shuffle=True, random_state=seed), X))
        for seed in (0, 1)
    ]
    assert found[0] != found[1]


def test_without_a_seed_each_split_shuffles_anew(crystals):
    splitter = CompositionKFold(3, shuffle=True)
    found = {tuple(fold_numbers(splitter, crystals[0])) for _ in range(3)}
    assert len(found) > 1


@pytest.mark.parametrize("random_state", [None, 0])
@pytest.mark.parametrize("name", SPLITTERS)
def test_global_random_states_stay_as_they_were(crystals, name, random_state):
    before = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()  # noqa: NPY002 - the state that is not to be touched
    fold_numbers(SPLITTERS[name](3, shuffle=True, random_state=random_state), crystals[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002 - as above
    assert random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("name", SPLITTERS)
def test_every_container_gives_the_same_folds(crystals, name):
    X = crystals[0]
    splitter = SPLITTERS[name](3)
    expected = fold_numbers(splitter, X)
    array = np.empty(len(X), dtype=object)
    array[:] = X
    graphs = StructureToGraph(cutoff=5.0).transform(X)
    for same in (pd.Series(X, index=range(7, 7 + len(X))), array, array[:, None], graphs):
        np.testing.assert_array_equal(fold_numbers(splitter, same), expected)


@pytest.mark.parametrize("name", SPLITTERS)
def test_structures_stay_as_they_were(crystals, name):
    X = [structure.copy() for structure in crystals[0][:20]]
    before = joblib.hash(X)
    fold_numbers(SPLITTERS[name](2), X)
    assert joblib.hash(X) == before


@pytest.mark.parametrize("name", SPLITTERS)
def test_cross_val_score_and_grid_search(crystals, name):
    X, y = crystals
    model = make_pipeline(EAD(L=0, pooling="mean"), Ridge())
    scores = cross_val_score(model, X, y, cv=SPLITTERS[name](3), scoring="r2")
    assert np.isfinite(scores).all()
    assert scores.shape == (3,)
    search = GridSearchCV(model, {"ridge__alpha": [0.1, 1.0]}, cv=SPLITTERS[name](2)).fit(X, y)
    assert search.n_splits_ == 2


def test_cross_val_score_of_a_graph_network(crystals):
    X, y = crystals
    model = PropertyRegressor(CGCNN(hidden_channels=8, n_layers=1), max_epochs=1, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(X)
    scores = cross_val_score(model, graphs, y, cv=CompositionKFold(2))
    assert np.isfinite(scores).all()


def test_labels_of_frames_are_a_y():
    structures, labels = make_emt_frames(12, random_state=0)
    assert len(list(ChemicalSystemKFold(2).split(structures, labels))) == 2


def test_clusters_are_those_of_the_fingerprint_given(crystals):
    X, _ = crystals

    def volumes(structures):
        return np.array([[s.copy().volume / len(s)] for s in structures])

    folds = fold_numbers(
        FingerprintClusterKFold(2, fingerprint=FunctionTransformer(volumes), n_clusters=2), X
    )
    values = volumes(X)[:, 0]
    first, second = values[folds == 0], values[folds == 1]
    assert first.max() < second.min() or second.max() < first.min()


def test_clusters_of_the_embeddings_of_a_pretrained_model(crystals):
    X = crystals[0][:20]
    backbone = CGCNN(hidden_channels=8, n_layers=1)
    pretrainer = Pretrainer(backbone, Denoising(), max_epochs=1, random_state=0).fit(X)
    weights = joblib.hash(pretrainer.transform(X))
    fold_numbers(FingerprintClusterKFold(2, fingerprint=FrozenEstimator(pretrainer)), X)
    assert joblib.hash(pretrainer.transform(X)) == weights
    with pytest.raises(TypeError, match=r"bare Pretrainer.*FrozenEstimator"):
        FingerprintClusterKFold(2, fingerprint=pretrainer)


def test_the_fingerprint_is_not_fitted_itself(crystals):
    seen = make_pipeline(EAD(L=0, pooling="mean"), FunctionTransformer())
    fold_numbers(FingerprintClusterKFold(2, fingerprint=seen), crystals[0])
    assert not [name for name in vars(seen[-1]) if name.endswith("_")]


def test_repr_names_the_parameters():
    assert repr(CompositionKFold(3)) == (
        "CompositionKFold(n_splits=3, random_state=None, shuffle=False)"
    )
    assert "symprec=0.01" in repr(PrototypeKFold(symprec=0.01))
    assert "n_clusters=7" in repr(FingerprintClusterKFold(n_clusters=7))


@pytest.mark.parametrize("name", SPLITTERS)
def test_fewer_groups_than_folds(name):
    X = [bulk("Cu"), bulk("Cu", cubic=True), bulk("Cu") * (2, 2, 1)]
    with pytest.raises(ValueError, match=r"n_splits=2.*3 crystals of X have only 1 .*Lower n_spl"):
        next(SPLITTERS[name](2).split(X))


@pytest.mark.parametrize("name", SPLITTERS)
def test_empty_input(name):
    with pytest.raises(ValueError, match="empty"):
        next(SPLITTERS[name](2).split([]))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_splits": 1}, "n_splits=1; expected an int >= 2"),
        ({"n_splits": 2.0}, r"n_splits=2\.0; expected an int"),
        ({"n_splits": True}, "n_splits=True; expected an int"),
        ({"shuffle": 1}, "shuffle=1; expected True or False"),
        ({"random_state": "a"}, "random_state='a'; expected an int"),
        ({"random_state": -1}, "random_state=-1; expected an int >= 0"),
    ],
)
@pytest.mark.parametrize("name", SPLITTERS)
def test_bad_parameters(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        SPLITTERS[name](**parameters)


@pytest.mark.parametrize(
    ("splitter", "parameters", "message"),
    [
        (PrototypeKFold, {"symprec": -1.0}, r"symprec=-1\.0; expected a number > 0"),
        (FingerprintClusterKFold, {"n_clusters": 4}, "n_clusters=4; expected an int >= 5"),
        (FingerprintClusterKFold, {"fingerprint": 3}, "fingerprint=3 has no method transform"),
        (FingerprintClusterKFold, {"fingerprint": EAD}, "has no method transform"),
    ],
)
def test_bad_parameters_of_their_own(splitter, parameters, message):
    with pytest.raises((TypeError, ValueError), match=message):
        splitter(**parameters)


def test_fingerprints_that_are_no_table():
    X = [bulk("Cu"), bulk("Al")]
    with pytest.raises(ValueError, match=r"returned list; expected a table.*pooling=.mean"):
        next(FingerprintClusterKFold(2, fingerprint=EAD(L=0)).split(X))
    nan = FunctionTransformer(lambda X: np.full((len(X), 2), np.nan))
    with pytest.raises(ValueError, match="returned NaN or infinity for crystal 0"):
        next(FingerprintClusterKFold(2, fingerprint=nan).split(X))
    short = FunctionTransformer(lambda X: np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"returned 1 rows for the 2 crystals"):
        next(FingerprintClusterKFold(2, fingerprint=short).split(X))


def test_targets_of_another_length():
    with pytest.raises(ValueError, match="y has 3 entries; X has 2 crystals"):
        next(CompositionKFold(2).split([bulk("Cu"), bulk("Al")], [1, 2, 3]))


def test_groups_are_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="ignores the argument groups.*GroupKFold"):
        next(CompositionKFold(2).split([bulk("Cu"), bulk("Al")], groups=[0, 1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrototypeKFold(symprec=1e300), "symprec=1e\\+300"),
        (lambda: PrototypeKFold(n_jobs="all"), "n_jobs='all'"),
        (lambda: CompositionKFold(shuffle=True, random_state=2**40), "random_state=1099511627776"),
        (lambda: FingerprintClusterKFold(random_state=-1), "random_state=-1"),
        (lambda: CompositionKFold(10**400), "n_splits"),
    ],
)
def test_values_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
