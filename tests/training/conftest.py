"""A small data set, and fits of a small model on it, for the tests of training."""

import numpy as np
import pytest
from skorch.callbacks import Callback

from gnnpre import CGCNN, CrystalGraphs, ForceField, FrameLabels, Pretrainer, StructureToGraph
from gnnpre.datasets import make_emt_frames


@pytest.fixture(scope="session")
def frames():
    return make_emt_frames(20, max_atoms=4, random_state=0)


@pytest.fixture(scope="session")
def graphs(frames) -> CrystalGraphs:
    return StructureToGraph(cutoff=4.0).transform(frames[0])


@pytest.fixture(scope="session")
def labels(frames) -> FrameLabels:
    return frames[1]


@pytest.fixture(scope="session")
def fit(graphs, labels):
    """Fit a small force field, parameters by name."""

    def fit(data=(graphs, labels), /, **parameters) -> Pretrainer:
        chosen = {"max_epochs": 2, "batch_size": 8, "random_state": 0, **parameters}
        return Pretrainer(CGCNN(8, 1), ForceField(), **chosen).fit(*data)

    return fit


class Recorder(Callback):
    """Weights and rates after each step, weights after each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.start = _weights(net)
        self.steps, self.epochs, self.rates, self.norms = [], [], [], []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        gradients = [p.grad for _, p in named_parameters if p.grad is not None]
        self.norms.append(float(np.sqrt(sum(float(g.square().sum()) for g in gradients))))

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.steps.append(_weights(net))
            self.rates.append([group["lr"] for group in net.optimizer_.param_groups])

    def on_epoch_end(self, net, **kwargs):
        self.epochs.append(_weights(net))


def _weights(net):
    return {name: value.detach().clone() for name, value in net.module_.state_dict().items()}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
