"""Fits that crash and go on, and the states that they leave."""

import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from gnnpre import CGCNN, ForceField, Pretrainer


def make_estimator(folder):
    """A training of six epochs that resumes from its states in a folder."""
    return Pretrainer(
        CGCNN(8, 1),
        ForceField(),
        max_epochs=6,
        batch_size=8,
        learning_rate=0.02,
        random_state=0,
        checkpoint_dir=str(folder / "states"),
        resume=True,
    )


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def weights(model):
    return model.net_.module_.state_dict()


class Counter(Callback):
    """Counts the epochs that are trained."""

    epochs = 0

    def on_epoch_begin(self, net, **kwargs):
        self.epochs += 1


class Crash(Callback):
    """Ends the process's patience after some epochs, once their state is written."""

    def __init__(self, after):
        self.after = after

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > self.after:
            raise RuntimeError("crash")


def fit_counting(estimator, data, **changes):
    counter = Counter()
    model = clone(estimator).set_params(**changes)
    model.callbacks = [counter]
    return model.fit(*data), counter.epochs


def crash(estimator, data, after=3, **changes):
    model = clone(estimator).set_params(callbacks=[Crash(after)], **changes)
    with pytest.raises(RuntimeError, match="crash"):
        model.fit(*data)
