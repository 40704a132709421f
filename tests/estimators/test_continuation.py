"""Pre-training that goes on from a pre-trained model: what it takes, and what new labels set."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback

from gnnpre import (
    CGCNN,
    EAD,
    Denoising,
    FingerprintTargets,
    ForceField,
    FrameLabels,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
    StructureToGraph,
)
from gnnpre.datasets import open_crystals, write_crystals
from training.resuming import Crash, assert_same_weights

SMALL = {"max_epochs": 1, "batch_size": 8, "random_state": 0}
# A training that leaves the weights where they start.
STILL = {"learning_rate": 1e-30, "weight_decay": 0.0, "schedule": None, "restore_best": False}
# Energies of atoms that other pseudopotentials shift by hundreds of eV, by atomic number.
OFFSETS = np.linspace(-900.0, 300.0, 119)
MIXTURE = [("forces", ForceField(), 1.0), ("ead", FingerprintTargets(EAD()), 0.1)]

pytestmark = pytest.mark.filterwarnings("ignore:.*have not moved from where they started")


def going_on(source, objective=None, **parameters):
    """Return a pre-trainer that starts from a fitted one and stays there."""
    settings = {"validation_fraction": 0, **SMALL, **STILL, **parameters}
    return Pretrainer(pretrained=FrozenEstimator(source), objective=objective, **settings)


def shifted(labels, graphs, offsets=OFFSETS):
    """Return labels whose atoms have other energies."""
    shift = np.add.reduceat(
        offsets[graphs.atomic_numbers.numpy()], np.append(0, np.cumsum(graphs.atom_counts)[:-1])
    )
    return FrameLabels(
        labels.n_atoms, energy=labels.energy + shift, forces=labels.forces, stress=labels.stress
    )


def state(model):
    return model.net_.module_.state_dict()


def equal_names(one, two):
    return {name for name in one.keys() & two.keys() if torch.equal(one[name], two[name])}


@pytest.fixture(scope="module")
def source(data) -> Pretrainer:
    """A force field whose weights stay as they are without a step: batch norms would not."""
    model = Pretrainer(CGCNN(8, 1), ForceField(), **{**SMALL, "max_epochs": 3}, learning_rate=0.01)
    return model.fit(data.graphs, data.labels)


@pytest.fixture(scope="module")
def mixed(data):
    model = Pretrainer(CGCNN(8, 1), Mixture(MIXTURE), **SMALL)
    return model.fit(data.graphs, data.labels)


def test_a_force_field_begins_with_the_forces_of_the_pretrained_one(source, data):
    model = going_on(source).fit(data.graphs, shifted(data.labels, data.graphs))
    before, after = source.predict(data.graphs), model.predict(data.graphs)
    np.testing.assert_array_equal(after.forces, before.forces)
    np.testing.assert_array_equal(after.stress, before.stress)


def test_offsets_of_the_elements_change_nothing_but_the_energies(source, data):
    labels = shifted(data.labels, data.graphs)
    as_before = going_on(source, learning_rate=0.01).fit(data.graphs, data.labels)
    model = going_on(source, learning_rate=0.01).fit(data.graphs, labels)
    expected = shifted(as_before.predict(data.graphs), data.graphs)
    np.testing.assert_allclose(model.predict(data.graphs).energy, expected.energy, atol=1e-5)
    np.testing.assert_allclose(model.predict(data.graphs).forces, expected.forces, atol=1e-5)


def test_energies_begin_as_near_to_the_labels_as_references_can_bring_them(source, data):
    model = going_on(source).fit(data.graphs, shifted(data.labels, data.graphs))
    labels, n_atoms = data.labels, data.labels.n_atoms
    residual = (shifted(labels, data.graphs).energy - model.predict(data.graphs).energy) / n_atoms
    before = (labels.energy - source.predict(data.graphs).energy) / n_atoms
    # By least squares: what is left is orthogonal to the fractions of each element.
    counts = np.zeros((len(n_atoms), 119))
    rows = np.repeat(np.arange(len(n_atoms)), n_atoms)
    np.add.at(counts, (rows, data.graphs.atomic_numbers.numpy()), 1)
    np.testing.assert_allclose((counts / n_atoms[:, None]).T @ residual, 0, atol=1e-6)
    assert np.square(residual).sum() <= np.square(before).sum() + 1e-9


def test_elements_without_a_frame_keep_their_energies(source, data):
    copper = [row for row in range(20) if (data.graphs[[row]].atomic_numbers != 29).all()]
    model = going_on(source).fit(data.graphs[copper], shifted(data.labels, data.graphs)[copper])
    before, after = (state(m)["reference_energies"] for m in (source, model))
    absent = [z for z in range(1, 101) if z not in data.graphs[copper].atomic_numbers.tolist()]
    assert 29 in absent
    assert torch.equal(after[np.array(absent) - 1], before[np.array(absent) - 1])
    assert not torch.equal(after, before)


def test_energies_of_the_pretrained_model_can_be_left_as_they_are(source, data):
    model = going_on(source, ForceField(reference_energies=None))
    model.fit(data.graphs, shifted(data.labels, data.graphs))
    expected = source.predict(data.graphs).energy
    np.testing.assert_array_equal(model.predict(data.graphs).energy, expected)


def test_each_source_gets_offsets_of_its_own(source, data):
    names = np.array(["ours", "theirs"] * 10)
    energy = np.where(names == "ours", data.labels.energy, shifted(data.labels, data.graphs).energy)
    labels = FrameLabels(
        data.labels.n_atoms, energy=energy, forces=data.labels.forces, info={"source": names}
    )
    objective = ForceField(stress=0, sources=("ours", "theirs"))
    model = going_on(source, objective).fit(data.graphs, labels)
    # Predictions have the offsets of the first source, also for crystals of the second one.
    error = (model.predict(data.graphs).energy - data.labels.energy) / data.labels.n_atoms
    assert np.abs(error).max() < 1.0


def test_frames_of_no_weight_decide_no_offset(source, data):
    weight = np.repeat([1.0, 0.0], 10)
    energy = np.where(weight > 0, data.labels.energy, 1e4)
    labels = FrameLabels(data.labels.n_atoms, energy=energy, forces=data.labels.forces)
    objective = ForceField(stress=0)
    model = going_on(source, objective).fit(data.graphs, labels, sample_weight=weight)
    alone = going_on(source, objective).fit(data.graphs[:10], labels[:10])
    one, two = (state(m)["reference_energies"] for m in (model, alone))
    torch.testing.assert_close(one, two)


def test_energies_may_be_missing(source, data):
    labels = FrameLabels(data.labels.n_atoms, forces=data.labels.forces)
    model = going_on(source, ForceField(energy=0, stress=0)).fit(data.graphs, labels)
    expected = source.predict(data.graphs).energy
    np.testing.assert_array_equal(model.predict(data.graphs).energy, expected)


def test_a_mixture_goes_on_by_the_names_of_its_objectives(mixed, data):
    model = going_on(mixed, Mixture(MIXTURE[::-1])).fit(data.graphs, data.labels)
    assert {n for n in state(mixed) if ".head." in n} <= equal_names(state(model), state(mixed))
    renamed = Mixture([("other", ForceField(), 1.0), MIXTURE[1]])
    model = going_on(mixed, renamed).fit(data.graphs, data.labels)
    taken = equal_names(state(model), state(mixed))
    assert {n for n in state(mixed) if n.startswith("parts.ead.head.")} <= taken
    weight = "head.mlp.0.weight"
    assert not torch.equal(
        state(model)[f"parts.other.{weight}"], state(mixed)[f"parts.forces.{weight}"]
    )


def test_one_objective_of_a_mixture_goes_on_alone(mixed, data):
    model = going_on(mixed).fit(data.graphs, shifted(data.labels, data.graphs))
    expected = mixed.predict(data.graphs)["forces"].forces
    np.testing.assert_allclose(model.predict(data.graphs).forces, expected, atol=1e-6)


def test_an_objective_goes_on_within_a_mixture(source, data):
    mixture = Mixture([("ead", FingerprintTargets(EAD()), 1.0), ("mine", ForceField(), 1.0)])
    model = going_on(source, mixture).fit(data.graphs, shifted(data.labels, data.graphs))
    predicted = model.predict(data.graphs)["mine"]
    np.testing.assert_allclose(predicted.forces, source.predict(data.graphs).forces, atol=1e-6)
    error = predicted.energy - shifted(source.predict(data.graphs), data.graphs).energy
    assert np.abs(error / data.labels.n_atoms).max() < 1.0


@pytest.mark.parametrize("objective", [Denoising(), FingerprintTargets(EAD())])
def test_another_objective_takes_the_backbone_alone(source, data, objective):
    model = going_on(source, objective).fit(data.graphs)
    equal = equal_names(state(model), state(source))
    assert equal == {name for name in state(source) if name.startswith("backbone.")}


@pytest.mark.parametrize("changes", [{"head_channels": 5}, {"pooling": "mean"}])
def test_a_head_of_another_form_is_warned_of(source, data, changes):
    model = going_on(source, ForceField(**changes))
    with pytest.warns(UserWarning, match="only the backbone was loaded"):
        model.fit(data.graphs, data.labels)
    scale, before = (float(state(m)["scale"]) for m in (model, source))
    assert scale == pytest.approx(before, rel=0.2)
    assert scale != before


def test_means_and_spreads_of_properties_are_those_of_the_new_crystals(data):
    source = Pretrainer(CGCNN(8, 1), PropertyTargets(), **SMALL).fit(data.graphs, data.y)
    model = going_on(source, PropertyTargets()).fit(data.graphs, 100.0 * data.y)
    assert torch.equal(state(model)["head.mlp.0.weight"], state(source)["head.mlp.0.weight"])
    assert float(state(model)["mean"][0]) == pytest.approx(100.0 * data.y.mean())
    assert float(state(model)["std"][0]) == pytest.approx(100.0 * data.y.std())


def test_the_pretrained_model_never_changes(source, data):
    before = {name: value.clone() for name, value in state(source).items()}
    model = going_on(source, learning_rate=0.1).fit(data.graphs, data.labels)
    assert equal_names(state(source), before) == before.keys()
    addresses = [p.data_ptr() for m in (model, source) for p in m.net_.module_.parameters()]
    assert len(set(addresses)) == len(addresses)


def test_structures_become_graphs_as_the_pretrained_model_reads_them(source, data):
    model = going_on(source).fit(data.structures, data.labels)
    assert model.graph_settings_ == source.graph_settings_
    with pytest.raises(ValueError, match="other settings than the model"):
        going_on(source).fit(StructureToGraph(cutoff=5.0).transform(data.structures), data.labels)


def test_elements_of_both_trainings_are_of_the_model(source, data, tmp_path):
    rows = [row for row in range(20) if 29 not in data.graphs[[row]].atomic_numbers.tolist()]
    files = {"checkpoint_dir": str(tmp_path), "checkpoint_epochs": [1]}
    model = going_on(source, **files).fit(data.graphs[rows], data.labels[rows])
    assert model.elements_ == source.elements_
    assert Pretrainer.load(model.checkpoints_[1]).elements_ == source.elements_


def test_new_elements_are_named_before_the_training(data):
    rows = [row for row in range(20) if 29 not in data.graphs[[row]].atomic_numbers.tolist()]
    source = Pretrainer(CGCNN(8, 1), **SMALL).fit(data.graphs[rows], data.labels[rows])
    with pytest.warns(UserWarning, match="has never seen: Cu"):
        going_on(source).fit(data.graphs, data.labels)


class Interrupting(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_an_interrupted_training_knows_all_elements(source, data):
    rows = [row for row in range(20) if 29 not in data.graphs[[row]].atomic_numbers.tolist()]
    model = going_on(source, max_epochs=3, callbacks=[Interrupting()])
    model.fit(data.graphs[rows], data.labels[rows])
    assert model.elements_ == source.elements_


def test_a_resumed_training_ends_with_the_same_weights(source, data, tmp_path):
    model = going_on(source, max_epochs=4, learning_rate=0.01)
    labels = shifted(data.labels, data.graphs)
    whole = clone(model).fit(data.graphs, labels)
    model.set_params(checkpoint_dir=str(tmp_path), resume=True)
    with pytest.raises(RuntimeError, match="crash"):
        clone(model).set_params(callbacks=[Crash(2)]).fit(data.graphs, labels)
    model.fit(data.graphs, labels)
    assert_same_weights(state(model), state(whole))
    assert len(list(tmp_path.iterdir())) == 1
    # Another start is another training.
    another = Pretrainer(CGCNN(8, 1), **SMALL).fit(data.graphs, data.labels)
    model.set_params(pretrained=FrozenEstimator(another)).fit(data.graphs, labels)
    assert len(list(tmp_path.iterdir())) == 2


def test_crystals_on_disk_lead_to_the_same_weights(source, data, tmp_path):
    labels = shifted(data.labels, data.graphs)
    write_crystals(tmp_path, [(data.graphs.to_crystals(), labels)], shard_rows=9)
    parameters = {"learning_rate": 0.01}
    on_disk = going_on(source, **parameters).fit(open_crystals(tmp_path))
    in_memory = going_on(source, **parameters).fit(data.structures, labels)
    assert equal_names(state(on_disk), state(in_memory)) == state(in_memory).keys()


def test_double_precision(source, data):
    model = going_on(source, dtype="float64").fit(data.graphs, data.labels)
    before, after = source.predict(data.graphs), model.predict(data.graphs)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-5)


def test_a_saved_model_names_its_file(source, data, tmp_path):
    source.save(tmp_path / "first.gnnpre")
    parameters = {"pretrained": str(tmp_path / "first.gnnpre"), "validation_fraction": 0}
    model = Pretrainer(**parameters, **SMALL, **STILL).fit(data.graphs, data.labels)
    model.save(tmp_path / "second.gnnpre")
    loaded = Pretrainer.load(tmp_path / "second.gnnpre")
    expected = model.predict(data.graphs)
    np.testing.assert_array_equal(loaded.predict(data.graphs).energy, expected.energy)
    with pytest.raises(ValueError, match="came with the file"):
        loaded.fit(data.graphs, data.labels)


def test_within_the_fit_of_a_property_graphs_are_those_of_the_source(source, data):
    pretraining = going_on(source, FingerprintTargets(EAD()))
    model = PropertyRegressor(pretraining=pretraining, strategy="full", **SMALL)
    model.fit(data.structures, data.y)
    assert model.graph_settings_ == source.graph_settings_


def test_a_backbone_beside_a_pretrained_model_is_an_error(source, data):
    model = clone(going_on(source)).set_params(backbone=CGCNN())
    with pytest.raises(ValueError, match="backbone and pretrained are both given"):
        model.fit(data.graphs, data.labels)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("gnnpre-2", (ValueError, FileNotFoundError), "gnnpre-1-forces"),
        (3, TypeError, "pretrained is of type int"),
        (Pretrainer(), TypeError, "FrozenEstimator"),
        (FrozenEstimator(Pretrainer()), ValueError, "not fitted"),
    ],
)
def test_what_is_no_pretrained_model(data, value, error, message):
    with pytest.raises(error, match=message):
        Pretrainer(pretrained=value, **SMALL).fit(data.graphs, data.labels)
