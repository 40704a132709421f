"""Fine-tuning with the objective of pre-training as a second loss."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score

from gnnpre import (
    CGCNN,
    Denoising,
    ForceField,
    FrameLabels,
    Mixture,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    PropertyTargets,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_frames

SMALL = {"max_epochs": 3, "batch_size": 8, "random_state": 0}
FORCES = ForceField(stress=10)
OBJECTIVES = {
    "forces": FORCES,
    "denoising": Denoising(),
    "sources": ForceField(stress=10, sources=("first", "second")),
    "mixture": Mixture([("forces", FORCES, 1.0), ("noise", Denoising(), 0.1)]),
}


@pytest.fixture(scope="module")
def frames(data, tmp_path_factory):
    """A folder with frames of other crystals than those with the property."""
    folder = tmp_path_factory.mktemp("frames")
    structures, labels = make_emt_frames(30, max_atoms=4, random_state=1)
    labels = FrameLabels(
        labels.n_atoms,
        energy=labels.energy,
        forces=labels.forces,
        stress=labels.stress,
        info={"source": ["first", "second", "second"] * 10},
    )
    graphs = StructureToGraph(4.0).transform(structures)
    graphs.save(folder / "graphs.safetensors")
    labels.save(folder / "labels.safetensors")
    return folder, structures, graphs, labels


def pretrained_on(objective, frames, **settings):
    _, _, graphs, labels = frames
    settings = {"max_epochs": 3, "random_state": 0, **settings}
    pretrainer = Pretrainer(CGCNN(8, 2), objective, **settings)
    return pretrainer.fit(graphs, labels if objective.needs_labels else None)


@pytest.fixture(scope="module", params=OBJECTIVES)
def source(request, frames):
    return pretrained_on(OBJECTIVES[request.param], frames)


def replaying(source, frames, **settings):
    return PropertyRegressor(
        pretrained=FrozenEstimator(source),
        strategy="replay",
        replay=str(frames[0]),
        diagnose=False,
        **{**SMALL, **settings},
    )


def test_losses_of_both_are_in_the_history(source, frames, data):
    model = replaying(source, frames).fit(data.graphs, data.y)
    row = model.history_[-1]
    assert row["train_property.properties"] > 0
    replayed = [key for key in row if key.startswith("train_replay")]
    assert replayed
    assert all(np.isfinite(row[key]) for key in replayed)


def test_what_is_left_is_a_plain_model_of_the_property(source, frames, data, tmp_path):
    model = replaying(source, frames).fit(data.graphs, data.y)
    assert type(model.spec_.objective) is PropertyTargets
    names = model.net_.module_.state_dict().keys()
    plain = PropertyRegressor(CGCNN(8, 2), max_epochs=1, random_state=0).fit(data.graphs, data.y)
    assert names == plain.net_.module_.state_dict().keys()
    assert model.predict(data.structures).shape == data.y.shape
    model.save(tmp_path / "m.gnnpre")
    loaded = PropertyRegressor.load(tmp_path / "m.gnnpre")
    np.testing.assert_array_equal(loaded.predict(data.graphs), model.predict(data.graphs))


def test_validation_sees_the_property_alone(frames, data):
    source = pretrained_on(FORCES, frames)
    model = replaying(source, frames, validation_fraction=0.3).fit(data.graphs, data.y)
    row = model.history_[-1]
    assert row["valid_loss"] == pytest.approx(row["valid_property.properties"])
    assert model.data_["n_valid"] == 6
    assert model.data_["n_train"] == 14 + 20


def test_a_weight_of_nothing_is_no_replay(frames, data):
    source = pretrained_on(FORCES, frames)
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "schedule": None}
    model = replaying(source, frames, **still).fit(data.graphs, data.y)
    ours, theirs = (m.net_.module_.state_dict() for m in (model, source))
    backbone = [name for name in theirs if name.startswith("backbone.")]
    assert all(torch.equal(ours[name], theirs[name]) for name in backbone)


def test_the_force_field_starts_from_what_it_was(frames, data):
    # The first loss of the replayed part is that of the pre-trained model, not of a fresh head.
    source = pretrained_on(FORCES, frames)
    still = {"learning_rate": 1e-30, "weight_decay": 0.0, "schedule": None, "replay_ratio": 10}
    model = replaying(source, frames, **still).fit(data.graphs, data.y)
    expected = -source.score(frames[2], frames[3])
    assert model.history_[0]["train_replay.forces"] > 0
    total = sum(
        weight * model.history_[0][f"train_replay.{name}"]
        for name, weight in (("energy", 1.0), ("forces", 1.0), ("stress", 10.0))
    )
    assert total == pytest.approx(expected, rel=1e-3)


def test_replay_keeps_the_forces_better(frames, data):
    long = {"max_epochs": 60, "learning_rate": 1e-2, "batch_size": 8}
    source, judge = (pretrained_on(FORCES, frames, **long) for _ in range(2))
    settings = {"max_epochs": 15, "learning_rate": 5e-3}
    errors = {}
    for strategy in ("full", "replay"):
        model = replaying(source, frames, replay_weight=10.0, **settings)
        if strategy == "full":
            model.set_params(strategy="full", replay=None)
        tuned = model.fit(data.graphs, data.y).net_.module_
        # The backbone after fine-tuning, under the head that pre-training gave it.
        judge.net_.module_.backbone.load_state_dict(tuned.backbone.state_dict())
        errors[strategy] = -judge.score(frames[2], frames[3])
    before = -source.score(frames[2], frames[3])
    assert before < errors["replay"] < 0.7 * errors["full"]


def test_frames_are_drawn_once_and_by_the_seed(frames, data):
    source = pretrained_on(FORCES, frames)
    models = [replaying(source, frames, replay_ratio=0.5).fit(data.graphs, data.y) for _ in "ab"]
    assert models[0].data_["n_crystals"] == 20 + 10
    np.testing.assert_array_equal(*[m.predict(data.graphs) for m in models])
    other = replaying(source, frames, replay_ratio=0.5, random_state=1)
    other.fit(data.graphs, data.y)
    assert not np.array_equal(other.predict(data.graphs), models[0].predict(data.graphs))


def test_extended_xyz(frames, data, tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    _, structures, _, labels = frames
    atoms = [structure.to_ase_atoms() for structure in structures]
    forces = np.split(labels.forces, labels.offsets[1:-1])
    for each, energy, force, stress in zip(
        atoms, labels.energy, forces, labels.stress, strict=True
    ):
        voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        each.calc = SinglePointCalculator(each, energy=energy, forces=force, stress=voigt)
    write(tmp_path / "frames.extxyz", atoms)
    source = pretrained_on(FORCES, frames)
    model = replaying(source, frames).set_params(replay=tmp_path / "frames.extxyz")
    folder = replaying(source, frames).fit(data.graphs, data.y)
    model.fit(data.graphs, data.y)
    np.testing.assert_allclose(
        model.predict(data.graphs), folder.predict(data.graphs), rtol=1e-3, atol=1e-3
    )


def test_matching_takes_the_readout_too(frames, data):
    source = pretrained_on(FORCES, frames)
    model = replaying(source, frames, transfer="matching").fit(data.graphs, data.y)
    assert "head.mlp.0.weight" in model.transferred_


def test_cross_validation_slices_the_property_and_not_the_frames(frames, data):
    source = pretrained_on(FORCES, frames)
    model = replaying(source, frames, max_epochs=1)
    scores = cross_val_score(model, data.structures, data.y, cv=2, error_score="raise")
    assert np.isfinite(scores).all()


def test_weights_of_samples_and_several_properties(frames, data):
    source = pretrained_on(FORCES, frames)
    y = np.stack([data.y, -data.y], axis=1)
    y[::3, 1] = np.nan
    weights = np.linspace(0.5, 2.0, len(y))
    model = replaying(source, frames).fit(data.graphs, y, sample_weight=weights)
    assert np.isfinite(model.predict(data.graphs)).all()


def test_without_frames(frames, data):
    source = pretrained_on(FORCES, frames)
    with pytest.raises(ValueError, match="strategy='replay' needs frames"):
        replaying(source, frames).set_params(replay=None).fit(data.graphs, data.y)
    with pytest.raises(ValueError, match=r"replay=.* has no effect with strategy='full'"):
        replaying(source, frames).set_params(strategy="full").fit(data.graphs, data.y)
    with pytest.raises(FileNotFoundError, match="replay='nowhere'"):
        replaying(source, frames).set_params(replay="nowhere").fit(data.graphs, data.y)
    with pytest.raises(TypeError, match="replay is of type list; expected the path"):
        replaying(source, frames).set_params(replay=[1]).fit(data.graphs, data.y)
    for name in ("replay_weight", "replay_ratio"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            replaying(source, frames).set_params(**{name: 0}).fit(data.graphs, data.y)


def test_frames_that_do_not_fit(frames, data, tmp_path):
    source = pretrained_on(FORCES, frames)
    StructureToGraph(3.0).transform(frames[1]).save(tmp_path / "graphs.safetensors")
    model = replaying(source, frames).set_params(replay=tmp_path)
    with pytest.raises(ValueError, match=r"graphs of other settings: cutoff is 3\.0, not 4\.0"):
        model.fit(data.graphs, data.y)
    frames[2].save(tmp_path / "graphs.safetensors")
    with pytest.raises(ValueError, match=r"no labels\.safetensors"):
        model.fit(data.graphs, data.y)


def test_objectives_whose_labels_frames_do_not_hold(frames, data):
    graphs = frames[2]
    source = Pretrainer(CGCNN(8, 2), PropertyTargets(), max_epochs=1, random_state=0)
    source.fit(graphs, np.arange(float(len(graphs))))
    with pytest.raises(ValueError, match="cannot replay PropertyTargets"):
        replaying(source, frames).fit(data.graphs, data.y)


def test_not_for_classes(frames, data):
    source = FrozenEstimator(pretrained_on(FORCES, frames))
    classifier = PropertyClassifier(pretrained=source, strategy="replay", **SMALL)
    with pytest.raises(ValueError, match="available only for PropertyRegressor"):
        classifier.fit(data.graphs, data.y > np.median(data.y))


def test_missing_labels_of_frames_are_masked(frames, data, tmp_path):
    _, _, graphs, labels = frames
    partial = FrameLabels(labels.n_atoms, energy=labels.energy, forces=labels.forces)
    graphs.save(tmp_path / "graphs.safetensors")
    partial.save(tmp_path / "labels.safetensors")
    source = pretrained_on(ForceField(stress=0), frames)
    model = clone(replaying(source, frames)).set_params(replay=tmp_path)
    assert np.isfinite(model.fit(data.graphs, data.y).history_[-1]["train_loss"])
