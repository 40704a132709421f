"""How a pre-trained backbone takes part in training."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyClassifier, PropertyRegressor, TorchMDNet

SMALL = {"max_epochs": 8, "batch_size": 8, "random_state": 0, "validation_fraction": 0}


@pytest.fixture(scope="module")
def source(data):
    pretrainer = Pretrainer(
        CGCNN(8, 3, batch_norm=True), ForceField(), max_epochs=1, random_state=0
    )
    return FrozenEstimator(pretrainer.fit(data.graphs, data.labels))


@pytest.fixture
def regressor(source):
    return PropertyRegressor(pretrained=source, **SMALL)


def weights(model) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in model.net_.module_.named_parameters()}


def moved(before, after) -> set[str]:
    return {name for name in after if not torch.equal(before[name], after[name])}


class Recorder(Callback):
    """Keeps the weights after each epoch, and the rates of the last step."""

    def on_train_begin(self, net, **kwargs):
        self.epochs = [self._copy(net)]
        self.modes = []

    def on_batch_end(self, net, training=False, **kwargs):
        self.modes.append(net.module_.backbone.training)

    def on_epoch_end(self, net, **kwargs):
        self.epochs.append(self._copy(net))
        groups = net.optimizer_.param_groups
        of = {id(p): group["lr"] for group in groups for p in group["params"]}
        self.rates = {name: of[id(p)] for name, p in net.module_.named_parameters()}

    @staticmethod
    def _copy(net):
        return {k: v.detach().clone() for k, v in net.module_.named_parameters()}


def recorded(model, data, **settings):
    recorder = Recorder()
    clone(model).set_params(callbacks=[recorder], **settings).fit(data.graphs, data.y)
    return recorder


def layers_of(names) -> set[str]:
    """First layers that weights belong to: "embedding", "0", "1", ... or "head"."""
    found = set()
    for name in names:
        parts = name.split(".")
        found.add("head" if parts[0] == "head" else parts[2] if parts[1] == "layers" else parts[1])
    return found


def test_full_trains_everything(regressor, data):
    states = recorded(regressor, data).epochs
    assert moved(states[0], states[1]) == set(states[0])


def test_head_trains_the_head_alone(regressor, data):
    recorder = recorded(regressor, data, strategy="head")
    assert layers_of(moved(recorder.epochs[0], recorder.epochs[-1])) == {"head"}
    assert not any(recorder.modes)


def test_layers_join_from_the_output(regressor, data):
    # Four layers (with the embedding) over the first half of eight epochs: one more each epoch.
    settings = {"strategy": "frozen_then_full", "frozen_epochs": 0.5}
    recorder = recorded(regressor, data, **settings)
    steps = pairwise(recorder.epochs)
    joined = [layers_of(moved(before, after)) for before, after in steps]
    assert joined[:5] == [
        {"head"},
        {"head", "2"},
        {"head", "2", "1"},
        {"head", "2", "1", "0"},
        {"head", "2", "1", "0", "embedding"},
    ]
    assert all(names == joined[4] for names in joined[4:])


def test_batch_norm_rests_while_all_of_the_backbone_does(regressor, data):
    settings = {"strategy": "frozen_then_full", "frozen_epochs": 0.5}
    modes = recorded(regressor, data, **settings).modes
    n_steps = len(modes) // 8
    assert not any(modes[:n_steps])
    assert all(modes[n_steps:])


def test_nothing_stays_frozen(regressor, data):
    model = clone(regressor).set_params(strategy="frozen_then_full", max_epochs=1)
    model.fit(data.graphs, data.y)
    assert all(p.requires_grad for p in model.net_.module_.parameters())


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_layerwise_rates(regressor, data, scale):
    settings = {"strategy": "layerwise", "layer_decay": 0.5, "backbone_lr_scale": scale}
    rates = recorded(regressor, data, schedule=None, learning_rate=1e-3, **settings).rates
    assert rates["head.mlp.0.weight"] == 1e-3
    for depth, layer in enumerate(["layers.2", "layers.1", "layers.0", "embedding"], start=1):
        found = {r for name, r in rates.items() if name.startswith(f"backbone.{layer}.")}
        assert found == {scale * 1e-3 * 0.5**depth}


def test_layers_of_torchmdnet_cover_its_weights_and_norms_are_at_the_end():
    backbone = TorchMDNet(8, 2, n_heads=2, vector_norm="whitened").build(4.0)
    patterns = backbone.layer_patterns()
    assert patterns == [("*",), ("layers.0.*",), ("layers.1.*", "norm.*", "vector_norm.*")]


def test_layerwise_starts_from_the_same_weights(regressor, data):
    full, layerwise = (recorded(regressor, data, strategy=s) for s in ("full", "layerwise"))
    assert moved(full.epochs[0], layerwise.epochs[0]) == set()


@pytest.mark.parametrize("strategy", ["frozen_then_full", "layerwise"])
def test_a_resumed_run_ends_with_the_same_weights(regressor, data, tmp_path, strategy):
    settings = {"strategy": strategy, "frozen_epochs": 0.5, "checkpoint_dir": str(tmp_path)}

    class Crash(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                raise RuntimeError("a crash")

    model = clone(regressor).set_params(**settings)
    with pytest.raises(RuntimeError, match="a crash"):
        clone(model).set_params(callbacks=[Crash()]).fit(data.graphs, data.y)
    resumed = clone(model).set_params(resume=True).fit(data.graphs, data.y)
    whole = clone(model).set_params(checkpoint_dir=None).fit(data.graphs, data.y)
    assert moved(weights(whole), weights(resumed)) == set()


def test_a_classifier_takes_them_too(source, data):
    classifier = PropertyClassifier(pretrained=source, strategy="head", **SMALL)
    labels = data.y > np.median(data.y)
    classifier.fit(data.graphs, labels)
    theirs = weights(source.estimator)
    names = {name for name in theirs if name.startswith("backbone.")}
    assert not moved({n: theirs[n] for n in names}, {n: weights(classifier)[n] for n in names})
