"""Validation crystals none of whose labels counts: no loss of zero is taken for the best."""

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit

from gnnpre import CGCNN, ForceField, FrameLabels, Pretrainer, PropertyClassifier, PropertyRegressor
from gnnpre.exceptions import TrainingWarning
from training.losses import assert_same_weights

N_VALID = 5
EMPTY = r"None of the 5 crystals.*weights of its last epoch"


@pytest.fixture
def holdout(graphs):
    """Hold out the last crystals."""
    fold = np.repeat([-1, 0], [len(graphs) - N_VALID, N_VALID])
    return PredefinedSplit(fold)


@pytest.fixture
def partial_labels(labels):
    """Labels of energies, of which the validation crystals have none."""
    energy = labels.energy.copy()
    energy[-N_VALID:] = np.nan
    return FrameLabels(labels.n_atoms, energy=energy)


def pretrainer(holdout, **parameters):
    chosen = {"max_epochs": 4, "batch_size": 8, "random_state": 0, **parameters}
    return Pretrainer(CGCNN(8, 1), ForceField(1, 0, 0), validation_fraction=holdout, **chosen)


@pytest.mark.parametrize("ema_decay", [None, 0.8])
def test_the_last_weights_are_kept(graphs, partial_labels, holdout, ema_decay):
    model = pretrainer(holdout, ema_decay=ema_decay)
    with pytest.warns(TrainingWarning, match=EMPTY) as seen:
        model.fit(graphs, partial_labels)
    assert len([item for item in seen if issubclass(item.category, TrainingWarning)]) == 1
    assert len(model.history_) == 4
    assert not any(key.startswith("valid_") for row in model.history_ for key in row)
    last = pretrainer(holdout, ema_decay=ema_decay, restore_best=False)
    with pytest.warns(TrainingWarning, match=EMPTY):
        last.fit(graphs, partial_labels)
    assert_same_weights(model.net_.module_.state_dict(), last.net_.module_.state_dict())


def test_patience_counts_no_epochs(graphs, partial_labels, holdout):
    with pytest.warns(TrainingWarning, match=EMPTY):
        model = pretrainer(holdout, patience=1).fit(graphs, partial_labels)
    assert len(model.history_) == 4


def test_files_of_epochs_and_a_resumed_training_have_the_same_weights(
    graphs, partial_labels, holdout, tmp_path
):
    settings = {"checkpoint_dir": str(tmp_path), "schedule": None, "resume": True}
    first = pretrainer(holdout, **settings, checkpoint_epochs=[2, 4])
    with pytest.warns(TrainingWarning, match=EMPTY):
        first.fit(graphs, partial_labels)
    finished = pretrainer(holdout, **settings).fit(graphs, partial_labels)
    saved = Pretrainer.load(first.checkpoints_[4])
    for model in (finished, saved):
        assert_same_weights(first.net_.module_.state_dict(), model.net_.module_.state_dict())


@pytest.mark.parametrize("estimator", [PropertyRegressor, PropertyClassifier])
def test_weights_of_zero_do_not_validate(graphs, labels, holdout, estimator):
    is_large = labels.energy > np.median(labels.energy)
    y = labels.energy if estimator is PropertyRegressor else is_large
    model = estimator(CGCNN(8, 1), max_epochs=2, random_state=0, validation_fraction=holdout)
    weights = np.repeat([1.0, 0.0], [len(graphs) - N_VALID, N_VALID])
    with pytest.warns(TrainingWarning, match=EMPTY):
        model.fit(graphs, y, sample_weight=weights)
    assert "valid_loss" not in model.history_[-1]


def test_a_part_without_labels_is_not_recorded(graphs, labels, holdout):
    stress = labels.stress.copy()
    stress[-N_VALID:] = np.nan
    y = FrameLabels(labels.n_atoms, energy=labels.energy, forces=labels.forces, stress=stress)
    model = pretrainer(holdout).set_params(objective=ForceField()).fit(graphs, y)
    row = model.history_[-1]
    assert "train_stress" in row
    assert "valid_stress" not in row
    assert row["valid_loss"] == pytest.approx(row["valid_energy"] + row["valid_forces"])


def test_nothing_to_score_is_an_error(graphs, labels, partial_labels, holdout):
    with pytest.warns(TrainingWarning, match=EMPTY):
        model = pretrainer(holdout).fit(graphs, partial_labels)
    weights = np.repeat([0.0, 1.0], [len(graphs) - N_VALID, N_VALID])
    with pytest.raises(ValueError, match=r"no label that counts in the loss of ForceField.*20"):
        model.score(graphs, partial_labels, sample_weight=weights)
