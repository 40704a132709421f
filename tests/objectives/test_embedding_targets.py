"""EmbeddingTargets: teachers of atoms and of crystals, and the cache."""

import json

import numpy as np
import pytest
import torch
from ase.build import bulk
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import FunctionTransformer

from gnnpre import (
    CGCNN,
    EAD,
    Composition,
    Crystals,
    Denoising,
    EmbeddingTargets,
    FoundationFeatures,
    Pretrainer,
    PropertyTargets,
    StructureToGraph,
)
from gnnpre._registry import registered_classes
from gnnpre.datasets import make_emt_property, write_crystals
from gnnpre.objectives import _embedding_targets
from gnnpre.training import from_spec, to_spec

STRUCTURES, Y = make_emt_property(16, random_state=0)
SETTINGS = {"max_epochs": 1, "validation_fraction": 0, "random_state": 0}


class Teacher(TransformerMixin, BaseEstimator):
    """Numbers and volumes of atoms, or of crystals; counts the crystals that it sees."""

    seen = 0

    def __init__(self, per_crystal=False, damage=None):
        self.per_crystal = per_crystal
        self.damage = damage

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        Teacher.seen += len(X)
        rows = [np.array([[s.specie.Z, x.volume / len(x)] for s in x], float) for x in X]
        if self.damage == "nan":
            rows[0][0, 0] = np.nan
        if self.damage == "short":
            rows[0] = rows[0][:-1]
        if self.damage == "text":
            return [row.astype(str) for row in rows]
        return np.array([row.mean(axis=0) for row in rows]) if self.per_crystal else rows


@pytest.fixture(autouse=True)
def fresh():
    Teacher.seen = 0


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(4.0).transform(STRUCTURES)


def test_targets_of_atoms_and_of_crystals(graphs):
    objective = EmbeddingTargets(Teacher(), cache=False)
    targets = objective.make_targets(graphs, None)
    assert targets.atom["embeddings"].shape == (graphs.atom_counts.sum(), 2)
    np.testing.assert_array_equal(targets.atom["embeddings"][:, 0], graphs.atomic_numbers)
    assert objective.layout(targets) == {"n_features": 2, "per_crystal": False}
    objective = EmbeddingTargets(Teacher(per_crystal=True), cache=False)
    targets = objective.make_targets(graphs, None)
    assert targets.crystal["crystal_embeddings"].shape == (len(graphs), 2)
    assert objective.layout(targets) == {"n_features": 2, "per_crystal": True}


@pytest.mark.parametrize("per_crystal", [False, True])
def test_targets_of_a_store_are_those_in_memory(graphs, tmp_path, monkeypatch, per_crystal):
    monkeypatch.setattr(_embedding_targets, "BLOCK", 5)
    store = write_crystals(tmp_path, [Crystals.from_structures(STRUCTURES)])
    lazy = StructureToGraph(cutoff=4.0).transform(store)
    objective = EmbeddingTargets(Teacher(per_crystal), cache=False)
    rows = np.array([7, 0, 15, 3])
    batches = [objective.make_targets(x, None).batch(rows, torch.float64) for x in (lazy, graphs)]
    (name,) = batches[0]
    torch.testing.assert_close(batches[0][name], batches[1][name], rtol=0, atol=0)
    with pytest.raises(ValueError, match="not finite"):
        EmbeddingTargets(Teacher(per_crystal, "nan"), cache=False).make_targets(lazy, None)


def test_the_teacher_sees_each_crystal_once(graphs, tmp_path):
    objective = EmbeddingTargets(Teacher(), cache=tmp_path)
    first = objective.make_targets(graphs[:10], None)
    assert Teacher.seen == 10
    second = clone(objective).make_targets(graphs, None)
    assert Teacher.seen == 16
    n = len(first.atom["embeddings"])
    assert torch.equal(second.atom["embeddings"][:n], first.atom["embeddings"])
    alternative = EmbeddingTargets(Teacher(per_crystal=True), cache=tmp_path).make_targets(
        graphs, None
    )
    assert set(alternative.crystal) == {"crystal_embeddings"}
    assert Teacher.seen == 32


def test_default_cache_is_the_folder_of_gnnpre(graphs, tmp_path, monkeypatch):
    monkeypatch.setenv("GNNPRE_HOME", str(tmp_path))
    EmbeddingTargets(Teacher()).make_targets(graphs, None)
    assert (tmp_path / "features" / "features.sqlite").exists()


def test_our_own_larger_model_as_a_teacher(graphs, tmp_path):
    large = Pretrainer(CGCNN(24, 2), PropertyTargets(), **SETTINGS).fit(graphs, Y)
    objective = EmbeddingTargets(FrozenEstimator(large), cache=False)
    small = Pretrainer(CGCNN(8, 1), objective, **SETTINGS).fit(graphs)
    assert small.predict(graphs).shape == large.transform(graphs).shape
    small.save(tmp_path / "small.gnnpre")
    loaded = Pretrainer.load(tmp_path / "small.gnnpre")
    np.testing.assert_array_equal(loaded.predict(graphs), small.predict(graphs))


def test_a_config_stays_in_the_file(graphs, tmp_path):
    objective = EmbeddingTargets(EAD(L=0), cache=False)
    Pretrainer(CGCNN(8, 1), objective, **SETTINGS).fit(graphs).save(tmp_path / "m.gnnpre")
    loaded = Pretrainer.load(tmp_path / "m.gnnpre")
    assert loaded.objective.teacher.get_params() == EAD(L=0).get_params()


@pytest.mark.parametrize("teacher", [FoundationFeatures("diep", layer=(0, 1)), Composition()])
def test_configs_of_teachers_go_through_json(teacher):
    spec = json.loads(json.dumps(to_spec(EmbeddingTargets(teacher).saved_config())))
    read = from_spec(spec, registered_classes())
    assert read.teacher.get_params() == teacher.get_params()


def test_features_are_learnt(graphs):
    objective = EmbeddingTargets(Teacher(), cache=False)
    model = Pretrainer(
        CGCNN(16, 2), objective, **{**SETTINGS, "max_epochs": 60, "learning_rate": 5e-3}
    ).fit(graphs)
    predicted = np.concatenate(model.predict(graphs))
    true = np.concatenate(Teacher().transform(STRUCTURES))
    assert (np.abs(predicted - true).mean(axis=0) < 0.5 * true.std(axis=0)).all()


def test_crystals_of_one_atom_keep_their_form():
    metals = [bulk("Cu"), bulk("Fe"), bulk("Al")]
    graphs = StructureToGraph(4.0).transform(metals)
    for per_crystal in (False, True):
        objective = EmbeddingTargets(Teacher(per_crystal), cache=False)
        predicted = Pretrainer(CGCNN(8, 1), objective, **SETTINGS).fit(graphs).predict(graphs)
        assert isinstance(predicted, np.ndarray) == per_crystal
        assert len(predicted) == 3


@pytest.mark.parametrize(
    ("damage", "match"), [("nan", "not finite"), ("short", "for 16 crystals"), ("text", "floats")]
)
def test_what_is_wrong_with_the_features_is_named(graphs, damage, match):
    with pytest.raises(ValueError, match=match):
        EmbeddingTargets(Teacher(damage=damage), cache=False).make_targets(graphs, None)


@pytest.mark.parametrize("teacher", [EAD, 3, CGCNN()])
def test_what_is_no_teacher_is_refused(graphs, teacher):
    with pytest.raises(TypeError, match=r"^teacher="):
        EmbeddingTargets(teacher).make_targets(graphs, None)
    with pytest.raises(ValueError, match=r"^teacher=None"):
        EmbeddingTargets().make_targets(graphs, None)


def test_a_fitted_teacher_that_loses_its_fit_is_explained(graphs):
    teacher = Pretrainer(CGCNN(4, 1), Denoising(), **SETTINGS).fit(graphs)
    with pytest.raises(NotFittedError, match=r"teacher is a Pretrainer .*FrozenEstimator"):
        Pretrainer(CGCNN(4, 1), EmbeddingTargets(teacher, cache=False), **SETTINGS).fit(graphs)


def test_a_teacher_that_cannot_be_pickled_needs_no_cache(graphs, tmp_path):
    teacher = FunctionTransformer(lambda X: Composition().transform(X))
    with pytest.raises(TypeError, match=r"cannot be pickled.*cache=False"):
        EmbeddingTargets(teacher, cache=tmp_path).make_targets(graphs, None)
    targets = EmbeddingTargets(teacher, cache=False).make_targets(graphs, None)
    assert len(targets) == len(graphs)
