"""Lines of progress: names, units, and the remaining time."""

import logging
import re

import numpy as np
import pytest

from gnnpre import CGCNN, ForceField, Mixture, Pretrainer, PropertyRegressor, TorchMDNet
from gnnpre._progress_label import current_label, label_unit, progress_label
from gnnpre.datasets import make_emt_property
from gnnpre.model_selection import PruningSearchCV, masked_scorer
from gnnpre.objectives import Denoising


@pytest.fixture(scope="module")
def data():
    return make_emt_property(24, max_atoms=4, random_state=0)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "gnnpre")
    return lambda: [record.message for record in caplog.records if record.name == "gnnpre"]


def test_force_fields_show_each_term_in_its_unit(fit, lines):
    model = fit(max_epochs=1)
    (line,) = lines()
    forces = model.history_[0]["valid_forces"]
    assert f"forces {forces:.4g} eV/Å" in line
    assert "eV/atom" in line


def test_terms_of_a_mixture_have_the_name_of_their_objective(graphs, labels, lines):
    mixture = Mixture([("ff", ForceField(), 1.0), ("noise", Denoising(), 1.0)])
    Pretrainer(CGCNN(8, 1), mixture, max_epochs=1, random_state=0).fit(graphs, labels)
    (line,) = lines()
    assert "ff.forces" in line
    assert "eV/Å" in line


def test_a_property_shows_its_error_in_its_unit(data, lines):
    X, y = data
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0, epoch_scoring="r2")
    model.fit(X, y)
    (line,) = lines()
    row = model.history_[0]
    assert f"error {row['valid_loss'] * float(model.net_.module_.unit):.4g} in the unit" in line
    assert f"r2 {row['valid_r2']:.4g}" in line


def test_the_error_in_the_unit_is_the_mean_absolute_error(data, lines):
    X, y = data
    scoring = "neg_mean_absolute_error"
    settings = {"max_epochs": 1, "random_state": 0, "epoch_scoring": scoring}
    model = PropertyRegressor(CGCNN(8, 1), **settings).fit(X, y)
    (line,) = lines()
    assert f"error {-model.history_[0]['valid_neg_mean_absolute_error']:.4g} in" in line


def test_the_unit_of_y_is_named_where_it_is_known(data, lines):
    X, y = data
    settings = {"max_epochs": 1, "random_state": 0}
    with label_unit("GPa"):
        PropertyRegressor(CGCNN(8, 1), **settings).fit(X, y)
    PropertyRegressor(CGCNN(8, 1), **settings).fit(X, y)
    named, unnamed = lines()
    assert re.search(r"\(error [\d.]+ GPa\)", named)
    assert "in the unit of y" in unnamed


def test_values_of_atoms_and_tensors_show_their_error(data, lines):
    X, y = data
    atoms = [np.arange(len(crystal)) + value for crystal, value in zip(X, y, strict=True)]
    mae = masked_scorer("neg_mean_absolute_error")
    settings = {"max_epochs": 1, "random_state": 0}
    model = PropertyRegressor(CGCNN(8, 1), target="atom", epoch_scoring={"mae": mae}, **settings)
    error = -model.fit(X, atoms).history_[0]["valid_mae"]
    tensors = y[:, None, None] * np.eye(3)
    model = PropertyRegressor(TorchMDNet(8, 1), target="tensor", **settings).fit(X, tensors)
    norm = model.history_[0]["valid_loss"] * float(model.net_.module_.unit)
    of_atoms, of_tensors = lines()
    assert f"error {error:.4g} in" in of_atoms
    assert f"error {norm:.4g} in" in of_tensors


def test_labels_nest_and_end():
    with progress_label("trial 3"), progress_label("fold 1 of 5"):
        assert current_label() == "trial 3, fold 1 of 5"
    assert current_label() == ""


def test_a_search_names_trials_and_folds(data, lines):
    X, y = data
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)

    def space(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 2e-3)}

    PruningSearchCV(model, space, cv=2, n_trials=2, random_state=0).fit(X, y)
    starts = [line.partition(": ")[0] for line in lines()]
    expected = [f"trial {trial}, fold {fold} of 2" for trial in (0, 1) for fold in (1, 2)]
    assert starts[:4] == expected
    assert starts[4].startswith("epoch 1/1")  # the best model, on all crystals


def test_pretraining_within_a_fit_is_named(data, lines):
    X, y = data
    pretraining = Pretrainer(CGCNN(8, 1), Denoising(), max_epochs=1)
    PropertyRegressor(pretraining=pretraining, max_epochs=1, random_state=0).fit(X, y)
    assert lines()[0].startswith("pre-training: epoch 1/1")
    assert np.all([not line.startswith("pre-training") for line in lines()[1:]])
