"""Weights of a pre-trained model in a property model: which are taken, and that none is shared."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_validate
from skorch.callbacks import Callback

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor

STILL = {"learning_rate": 1e-30, "weight_decay": 0.0, "schedule": None, "restore_best": False}


@pytest.fixture
def finetuned(pretrained) -> PropertyRegressor:
    return PropertyRegressor(
        pretrained=FrozenEstimator(pretrained), max_epochs=3, batch_size=8, random_state=0
    )


class AtStart(Callback):
    """Keeps the weights that a training starts from."""

    def on_train_begin(self, net, **kwargs):
        self.weights = {key: value.clone() for key, value in net.module_.state_dict().items()}


def weights(model):
    state = model.net_.module_.state_dict()
    return {name: value.detach().clone() for name, value in state.items()}


def equal_names(one, two):
    return {name for name in one.keys() & two.keys() if torch.equal(one[name], two[name])}


def start(model, data):
    recorder = AtStart()
    model = clone(model)
    model.callbacks = [recorder]
    return model.fit(data.graphs, data.y), recorder.weights


def backbone_names(state):
    return {name for name in state if name.startswith("backbone.")}


def test_the_backbone_is_taken_and_the_readout_is_fresh(finetuned, pretrained, data):
    model, first = start(finetuned, data)
    source = weights(pretrained)
    assert equal_names(first, source) == backbone_names(source) == set(model.transferred_)
    assert isinstance(model.spec_.backbone, CGCNN)
    assert model.spec_.backbone.get_params() == pretrained.spec_.backbone.get_params()


def test_matching_takes_the_readout_too(finetuned, pretrained, data):
    model, first = start(finetuned.set_params(transfer="matching"), data)
    source = weights(pretrained)
    heads = {name for name in source if name.startswith("head.")}
    assert equal_names(first, source) == backbone_names(source) | heads
    assert set(model.transferred_) == backbone_names(source) | heads
    assert heads


def test_matching_takes_what_has_the_same_shape(finetuned, pretrained, data):
    y = np.stack([data.y, data.y**2], axis=1)
    recorder = AtStart()
    finetuned.set_params(transfer="matching", callbacks=[recorder])
    model = finetuned.fit(data.graphs, y)
    last = {"head.mlp.2.weight", "head.mlp.2.bias"}  # two outputs where there was one
    heads = {name for name in weights(pretrained) if name.startswith("head.")}
    taken = {name for name in model.transferred_ if name.startswith("head.")}
    assert taken == heads - last
    assert equal_names(recorder.weights, weights(pretrained)) >= taken


def test_matching_without_a_match_is_warned_of(finetuned, data):
    with pytest.warns(UserWarning, match="no weight of the pre-trained readout"):
        finetuned.set_params(transfer="matching", head_channels=5, head_layers=2).fit(
            data.graphs, np.stack([data.y, data.y], axis=1)
        )


def test_statistics_of_the_source_are_not_taken(finetuned, data):
    model = finetuned.set_params(transfer="matching").fit(data.graphs, data.y)
    # The fraction for validation is out, so the mean of all is near and not equal.
    assert float(model.net_.module_.mean[0]) == pytest.approx(data.y.mean(), rel=0.1)


def test_the_source_never_changes(finetuned, pretrained, data):
    before = weights(pretrained)
    for changes in ({}, {"transfer": "matching"}, {"strategy": "head"}, {"ema_decay": 0.5}):
        clone(finetuned).set_params(learning_rate=0.1, **changes).fit(data.graphs, data.y)
    assert equal_names(weights(pretrained), before) == before.keys()


def test_folds_and_clones_share_no_weights(finetuned, data):
    result = cross_validate(finetuned, data.graphs, data.y, cv=3, return_estimator=True)
    models = [*result["estimator"], clone(finetuned).fit(data.graphs, data.y)]
    models.append(finetuned.pretrained.estimator)
    addresses = [p.data_ptr() for m in models for p in m.net_.module_.parameters()]
    assert len(set(addresses)) == len(addresses)
    name = "backbone.layers.0.edge.weight"
    assert not torch.equal(weights(models[0])[name], weights(models[1])[name])


def test_an_earlier_fold_does_not_leak_into_a_later_one(finetuned, data):
    alone = clone(finetuned).fit(data.graphs[10:], data.y[10:])
    clone(finetuned).set_params(learning_rate=0.1).fit(data.graphs[:10], data.y[:10])
    after = clone(finetuned).fit(data.graphs[10:], data.y[10:])
    assert equal_names(weights(alone), weights(after)) == weights(alone).keys()


@pytest.mark.parametrize("ema_decay", [None, 0.5])
def test_freeze_keeps_the_backbone_bit_for_bit(finetuned, pretrained, data, ema_decay):
    finetuned.set_params(strategy="head", learning_rate=0.05, ema_decay=ema_decay, weight_decay=0.1)
    model, first = start(finetuned, data)
    source = weights(pretrained)
    assert equal_names(weights(model), source) == backbone_names(source)  # batch norm's, too
    assert not equal_names(weights(model), first) & {"head.mlp.0.weight", "head.mlp.2.weight"}


def test_without_freeze_the_backbone_is_trained(finetuned, pretrained, data):
    model = finetuned.fit(data.graphs, data.y)
    changed = backbone_names(weights(model)) - equal_names(weights(model), weights(pretrained))
    assert {"backbone.layers.0.edge.weight", "backbone.layers.0.norm.running_mean"} <= changed


@pytest.mark.parametrize("schedule", ["cosine", "plateau", None])
def test_no_rate_for_the_backbone_keeps_its_weights(finetuned, pretrained, data, schedule):
    finetuned.set_params(backbone_lr_scale=0.0, schedule=schedule)
    model, first = start(finetuned, data)
    learnt = dict(model.net_.module_.named_parameters()).keys()
    kept = equal_names(weights(model), weights(pretrained))
    assert learnt & backbone_names(first) <= kept
    assert not torch.equal(weights(model)["head.mlp.0.weight"], first["head.mlp.0.weight"])


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_backbone_has_a_rate_of_its_own(finetuned, data, scale):
    class Rates(Callback):
        def on_batch_end(self, net, training=False, **kwargs):
            groups = net.optimizer_.param_groups
            names = [{id(p) for p in group["params"]} for group in groups]
            inside = {id(p) for p in net.module_.backbone.parameters()}
            (backbone,) = [i for i, members in enumerate(names) if members == inside]
            self.ratio = groups[backbone]["lr"] / groups[1 - backbone]["lr"]

    rates = Rates()
    finetuned.set_params(backbone_lr_scale=scale, callbacks=[rates]).fit(data.graphs, data.y)
    assert rates.ratio == pytest.approx(scale)


def test_a_path_and_a_frozen_estimator_give_the_same(finetuned, pretrained, data, tmp_path):
    expected = clone(finetuned).fit(data.graphs, data.y)
    for path in (tmp_path / "model.gnnpre", tmp_path / "folder"):
        pretrained.save(path)
        for form in (path, str(path)):
            model = clone(finetuned).set_params(pretrained=form).fit(data.graphs, data.y)
            assert equal_names(weights(model), weights(expected)) == weights(expected).keys()
            np.testing.assert_array_equal(model.predict(data.graphs), expected.predict(data.graphs))


def test_a_frozen_pretrainer_survives_clone(finetuned, pretrained):
    assert clone(finetuned).pretrained.estimator is pretrained
    assert not hasattr(clone(finetuned), "net_")


def test_structures_become_graphs_as_in_pretraining(finetuned, data):
    one = clone(finetuned).fit(data.structures, data.y)  # cutoff 4, not the default
    assert one.graph_settings_.cutoff == 4.0
    two = clone(finetuned).fit(data.graphs, data.y)
    np.testing.assert_array_equal(one.predict(data.structures), two.predict(data.graphs))


def test_elements_of_the_pretraining_count_as_seen(finetuned, pretrained, data, recwarn):
    copper = data.graphs.atomic_numbers == 29
    crystal = np.repeat(np.arange(20), data.graphs.atom_counts)
    without = np.setdiff1d(np.arange(20), crystal[copper.numpy()])
    assert 0 < len(without) < 20
    finetuned.set_params(validation_fraction=0).fit(data.graphs[without], data.y[without])
    finetuned.predict(data.graphs)
    assert not recwarn


def test_the_mean_number_of_neighbours_comes_with_the_weights(finetuned, pretrained, data):
    denser = data.graphs.edge_counts / data.graphs.atom_counts
    chosen = np.argsort(denser)[-10:]
    model = finetuned.set_params(validation_fraction=0).fit(data.graphs[chosen], data.y[chosen])
    expected = pretrained.net_.module_.backbone.mean_neighbors
    assert float(model.net_.module_.backbone.mean_neighbors) == float(expected)


def test_embeddings_right_after_transfer_are_those_of_the_source(finetuned, pretrained, data):
    model = finetuned.set_params(strategy="head", **STILL).fit(data.graphs, data.y)
    np.testing.assert_array_equal(model.transform(data.graphs), pretrained.transform(data.graphs))


def test_precision_may_differ_from_that_of_the_source(finetuned, pretrained, data):
    model = finetuned.set_params(dtype="float64", strategy="head").fit(data.graphs, data.y)
    name = "backbone.layers.0.edge.weight"
    assert weights(model)[name].dtype == torch.float64
    assert torch.equal(weights(model)[name].float(), weights(pretrained)[name])


def test_other_sources_are_other_runs(finetuned, pretrained, data, tmp_path):
    other = Pretrainer(CGCNN(8, 1, batch_norm=True), ForceField(), max_epochs=1, random_state=7)
    other.fit(data.graphs, data.labels)
    common = {"checkpoint_dir": str(tmp_path / "states"), "resume": True}
    clone(finetuned).set_params(**common).fit(data.graphs, data.y)
    changes = (
        {"pretrained": FrozenEstimator(other)},
        {"transfer": "matching"},
        {"strategy": "head"},
    )
    for change in changes:
        alone = clone(finetuned).set_params(**change).fit(data.graphs, data.y)
        resumed = clone(finetuned).set_params(**change, **common).fit(data.graphs, data.y)
        assert equal_names(weights(alone), weights(resumed)) == weights(alone).keys()
    assert len(list((tmp_path / "states").iterdir())) == 4
