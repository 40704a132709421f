"""Pretrainer: what it predicts, embeds, scores and takes."""

import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from ase import Atoms
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, Denoising, ForceField, Pretrainer, PropertyTargets, StructureToGraph
from gnnpre.exceptions import UnseenElementWarning


def test_defaults(data):
    model = Pretrainer(max_epochs=1).fit(data.structures[:10], data.labels[:10])
    assert isinstance(model.spec_.backbone, CGCNN)
    assert isinstance(model.spec_.objective, ForceField)
    assert model.graph_settings_ == StructureToGraph().transform(data.structures[:1]).settings
    assert model.backbone is None
    assert model.objective is None
    assert {p.dtype for p in model.net_.module_.parameters()} == {torch.float32}


def test_predictions_are_frame_labels(pretrained, data):
    predicted = pretrained.predict(data.graphs)
    assert type(predicted) is type(data.labels)
    assert predicted.shape == data.labels.shape
    assert predicted.forces.shape == data.labels.forces.shape
    assert np.isfinite(predicted.stress).all()


def test_score_is_minus_the_loss(pretrained, data):
    predicted = pretrained.predict(data.graphs)
    loss = np.abs((predicted.energy - data.labels.energy) / data.graphs.atom_counts).mean()
    loss += np.abs(predicted.forces - data.labels.forces).mean()
    loss += np.abs(predicted.stress - data.labels.stress).mean()
    assert pretrained.score(data.graphs, data.labels) == pytest.approx(-loss, rel=1e-5)


def test_score_leaves_crystals_of_no_weight_out(pretrained, data):
    weight = np.array([0.0, 3.0] * 10)
    score = pretrained.score(data.graphs, data.labels, sample_weight=weight)
    expected = pretrained.score(data.graphs[1::2], data.labels[1::2])
    assert score == pytest.approx(expected, rel=1e-5)


def test_a_training_on_crystals_of_no_weight_is_an_error(pretrained, pretrainer, data):
    split = PredefinedSplit(np.repeat([0, -1], 10))
    weight = np.repeat([1.0, 0.0], 10)
    start = FrozenEstimator(pretrained)
    going_on = clone(pretrainer).set_params(backbone=None, pretrained=start)
    for model in (pretrainer, going_on):
        model.set_params(validation_fraction=split)
        with pytest.raises(ValueError, match=r"zero for all 10 crystals .* validation_fraction"):
            model.fit(data.graphs, data.labels, sample_weight=weight)


def test_elements_of_validation_frames_alone_are_warned_of(pretrainer, data):
    has_copper = [29 in data.graphs[[row]].atomic_numbers.tolist() for row in range(20)]
    split = PredefinedSplit(np.where(has_copper, 0, -1))
    pretrainer.set_params(validation_fraction=split)
    with pytest.warns(UnseenElementWarning, match="that no training frame has: Cu"):
        pretrainer.fit(data.graphs, data.labels)
    # Without reference energies, or without energies, elements have no zero of their own.
    for objective in (ForceField(reference_energies=None), ForceField(energy=0), Denoising()):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnseenElementWarning)
            pretrainer.set_params(objective=objective).fit(data.graphs, data.labels)


def test_score_needs_labels(pretrained, data):
    with pytest.raises(ValueError, match="y is None"):
        pretrained.score(data.graphs)


def test_embeddings_are_means_over_the_atoms(pretrained, data):
    embedding = pretrained.transform(data.graphs)
    assert embedding.shape == (20, 8)
    doubled = [structure.copy().make_supercell([2, 1, 1]) for structure in data.structures[:4]]
    np.testing.assert_allclose(pretrained.transform(doubled), embedding[:4], atol=1e-5)


def test_structures_and_graphs_give_the_same(pretrained, data):
    one, two = pretrained.predict(data.structures), pretrained.predict(data.graphs)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    embeddings = [pretrained.transform(X) for X in (data.structures, data.graphs)]
    np.testing.assert_array_equal(*embeddings)


def test_predictions_do_not_depend_on_the_batch(pretrained, data):
    whole = pretrained.predict(data.graphs)
    order = np.random.default_rng(0).permutation(20)
    assert pretrained.predict(data.graphs[order]).energy == pytest.approx(
        whole.energy[order], rel=1e-5, abs=1e-6
    )
    for index in range(3):
        single = pretrained.predict(data.graphs[[index]])
        assert single.energy == pytest.approx(whole.energy[[index]], rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(single.forces, whole[[index]].forces, atol=1e-5)


def test_an_isolated_atom_is_predicted_from_its_element(data):
    model = Pretrainer(CGCNN(8, 1), max_epochs=1, random_state=0).fit(data.graphs, data.labels)
    cells = [Atoms("Cu", cell=[30] * 3, pbc=True), Atoms("Cu"), Atoms("Cu", cell=[40] * 3, pbc=1)]
    predicted = model.predict(cells)
    assert np.ptp(predicted.energy) < 1e-6
    assert np.isfinite(predicted.energy).all()
    np.testing.assert_array_equal(predicted.forces, 0.0)
    np.testing.assert_array_equal(predicted.stress[[0, 2]], 0.0)
    assert np.isnan(predicted.stress[1]).all()  # no cell, no stress
    assert np.isfinite(model.transform(cells)).all()


def test_training_on_isolated_atoms_alone():
    atoms = [Atoms("Cu"), Atoms("Ag"), Atoms("Au")]
    model = Pretrainer(CGCNN(8, 1), PropertyTargets(), max_epochs=2, validation_fraction=0)
    assert np.isfinite(model.fit(atoms, [1.0, 2.0, 3.0]).predict(atoms)).all()


@pytest.mark.parametrize("method", ["predict", "transform"])
def test_unseen_elements_are_named_once(pretrained, method):
    model = deepcopy(pretrained)  # nobody has been warned of it yet
    strange = [Atoms("Fe", cell=[3] * 3, pbc=True), Atoms("FeO", positions=[[0] * 3, [0, 0, 2]])]
    with pytest.warns(UserWarning, match=r"not trained on: O \(row 1\); Fe") as caught:
        getattr(model, method)(strange)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(strange)


def test_seen_elements_give_no_warning(pretrained, data, recwarn):
    pretrained.predict(data.graphs)
    pretrained.score(data.graphs, data.labels)
    assert not recwarn


def test_forces_from_a_cut_list_of_neighbours_are_warned_of(pretrainer, data):
    graphs = StructureToGraph(cutoff=4.0, max_neighbors=8).transform(data.structures)
    with pytest.warns(UserWarning, match="max_neighbors=8.*forces"):
        pretrainer.fit(graphs, data.labels)


def test_feature_names_and_pandas_output(pretrained, data):
    names = pretrained.get_feature_names_out()
    assert names.tolist() == [f"cgcnn{channel}" for channel in range(8)]
    frozen = make_pipeline(StructureToGraph(cutoff=4.0), FrozenEstimator(pretrained))
    table = clone(pretrained).fit(data.graphs, data.labels).set_output(transform="pandas")
    embedding = table.transform(data.structures)
    assert embedding.columns.tolist() == names.tolist()
    np.testing.assert_array_equal(embedding.to_numpy(), frozen.transform(data.structures))


def test_embeddings_in_a_pipeline(pretrained, data):
    model = make_pipeline(FrozenEstimator(pretrained), Ridge(alpha=1e-3))
    before = pretrained.transform(data.graphs)
    predicted = clone(model).fit(data.structures, data.y).predict(data.structures)
    assert predicted.shape == (20,)
    expected = Ridge(alpha=1e-3).fit(before, data.y).predict(before)
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)
    np.testing.assert_array_equal(pretrained.transform(data.graphs), before)


def test_fit_transform_in_one(pretrainer, data):
    both = clone(pretrainer).fit_transform(data.graphs, data.labels)
    np.testing.assert_array_equal(
        both, pretrainer.fit(data.graphs, data.labels).transform(data.graphs)
    )


def test_configs_are_copied(pretrainer, data):
    pretrainer.fit(data.graphs, data.labels)
    before = pretrainer.predict(data.graphs).energy
    pretrainer.set_params(objective__forces=0.0, backbone__hidden_channels=4)
    assert pretrainer.spec_.objective.forces == 1.0
    assert pretrainer.spec_.backbone.hidden_channels == 8
    np.testing.assert_array_equal(pretrainer.predict(data.graphs).energy, before)


def test_history_has_a_row_an_epoch(pretrained):
    assert [row["epoch"] for row in pretrained.history_] == [1, 2]
    keys = {"train_loss", "train_energy", "train_forces", "train_stress", "valid_loss", "dur"}
    assert all(keys <= row.keys() and "batches" not in row for row in pretrained.history_)


def test_reference_energies_come_from_the_training_part_alone(data):
    moved = data.labels[:]
    moved.energy = moved.energy.copy()
    moved.energy[:5] += 1e6
    fold = -np.ones(20, dtype=int)
    fold[:5] = 0
    model = Pretrainer(
        CGCNN(8, 1),
        ForceField(1, 0, 0),
        max_epochs=1,
        random_state=0,
        validation_fraction=PredefinedSplit(fold),
    ).fit(data.graphs, moved)
    assert float(model.net_.module_.reference_energies.abs().max()) < 1e3
