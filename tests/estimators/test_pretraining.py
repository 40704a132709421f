"""Pre-training within fit, with an objective that was written outside the package."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.backbones import Readout
from gnnpre.estimators import _network
from gnnpre.objectives import LossTerm, Objective, ObjectiveModel, Targets


class NeighborCount(Objective):
    """Learn the mean number of neighbours of the atoms of a crystal: no labels needed."""

    needs_labels = False
    seen = None  # positions that targets were made of, where a test asks

    def __init__(self, weight=1.0, widths=(4,)):
        self.weight = weight
        self.widths = widths

    def make_targets(self, graphs, y):
        if self.seen is not None:
            self.seen.append(graphs.positions)
        count = graphs.edge_counts / graphs.atom_counts
        return Targets(graphs.atom_counts, {"count": torch.from_numpy(count)})

    def layout(self, targets):
        return {"scale": float(targets.crystal["count"].mean())}

    def build(self, backbone, layout):
        return NeighborCountModel(backbone, self, layout["scale"])

    def collect(self, parts, graphs):
        return np.concatenate([part["count"] for part in parts])


class NeighborCountModel(ObjectiveModel):
    def __init__(self, backbone, config, scale):
        super().__init__(backbone)
        self.config = config
        self.scale = scale
        self.head = Readout(
            backbone.out_channels, 1, pooling="mean", hidden_channels=config.widths[0]
        )

    def forward(self, batch):
        return {"count": self.scale * self.head(self.backbone(batch).scalars, batch)[:, 0]}

    def losses(self, predictions, targets, batch):
        error = ((predictions["count"] - targets["count"]) / self.scale).square()
        weight = targets.get("sample_weight", torch.ones_like(error))
        return {"count": LossTerm((weight * error).sum(), weight.sum(), self.config.weight)}


@pytest.fixture
def counter() -> Pretrainer:
    return Pretrainer(
        CGCNN(8, 1, aggregation="sum"),
        NeighborCount(),
        max_epochs=3,
        batch_size=8,
        random_state=0,
        learning_rate=0.01,
    )


@pytest.fixture
def regressor(counter) -> PropertyRegressor:
    return PropertyRegressor(pretraining=counter, max_epochs=2, batch_size=8, random_state=0)


def weights(model):
    return model.net_.module_.state_dict()


def assert_same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_an_objective_of_ones_own_learns(counter, data):
    counter.set_params(max_epochs=60, validation_fraction=0).fit(data.graphs)
    predicted = counter.predict(data.graphs)
    assert predicted.shape == (20,)
    assert counter.history_[-1]["train_count"] < 0.3 * counter.history_[0]["train_count"]
    assert counter.score(data.graphs) == pytest.approx(-counter.history_[-1]["train_loss"], abs=0.1)


def test_labels_are_ignored(counter, data):
    one, two = clone(counter).fit(data.graphs), clone(counter).fit(data.graphs, data.y)
    assert_same_weights(weights(one), weights(two))


def test_tags_say_whether_labels_are_needed(counter):
    assert not counter.__sklearn_tags__().target_tags.required
    for objective in (None, ForceField()):
        assert Pretrainer(objective=objective).__sklearn_tags__().target_tags.required


def test_it_is_saved_and_loaded_by_its_class(counter, data, tmp_path):
    counter.set_params(objective=NeighborCount(2.0, widths=(3,))).fit(data.graphs)
    path = tmp_path / "counter.gnnpre"
    counter.save(path)
    again = Pretrainer.load(path)
    np.testing.assert_array_equal(again.predict(data.graphs), counter.predict(data.graphs))
    assert again.objective.get_params() == {"weight": 2.0, "widths": (3,)}
    assert again.score(data.graphs) == counter.score(data.graphs)


def test_the_pretrained_backbone_is_taken(regressor, counter, data):
    regressor.set_params(strategy="head", transfer="backbone").fit(data.graphs, data.y)
    source = weights(counter.fit(data.graphs))
    names = [name for name in source if name.startswith("backbone.")]
    assert sorted(names) == sorted(regressor.transferred_)
    for name in names:
        assert torch.equal(weights(regressor)[name], source[name])


def test_the_parameter_stays_unfitted(regressor, counter, data):
    regressor.fit(data.graphs, data.y)
    assert regressor.pretraining is counter
    assert not hasattr(counter, "net_")


def test_a_fitted_one_is_fitted_anew(regressor, counter, data):
    expected = clone(regressor).fit(data.graphs, data.y)
    counter.fit(data.graphs[:10])
    before = {name: value.clone() for name, value in weights(counter).items()}
    model = regressor.fit(data.graphs, data.y)
    assert_same_weights(weights(model), weights(expected))
    assert_same_weights(weights(counter), before)


def test_each_fold_pretrains_on_its_own_crystals_alone(regressor, data, monkeypatch):
    monkeypatch.setattr(NeighborCount, "seen", [])
    folds = KFold(4, shuffle=True, random_state=1)
    model = make_pipeline(StructureToGraph(cutoff=4.0), regressor)
    cross_val_score(model, data.structures, data.y, cv=folds)
    seen = NeighborCount.seen
    assert len(seen) == 4
    for positions, (train, _) in zip(seen, folds.split(data.y), strict=True):
        assert torch.equal(positions, data.graphs[train].positions)


def test_other_test_crystals_do_not_change_a_fold(regressor, data):
    """Pre-training that saw the test fold would show here."""
    folds = KFold(2)
    model = make_pipeline(StructureToGraph(cutoff=4.0), regressor)
    one = cross_val_predict(model, data.structures, data.y, cv=folds)
    changed = [*data.structures[:10], *[s.copy().scale_lattice(9.0) for s in data.structures[10:]]]
    two = cross_val_predict(model, changed, data.y, cv=folds)
    # The fold that tests on the second half was trained on the first, which did not change.
    trained = clone(model).fit(data.structures[:10], data.y[:10])
    np.testing.assert_array_equal(one[10:], trained.predict(data.structures[10:]))
    np.testing.assert_array_equal(two[10:], trained.predict(changed[10:]))


def test_its_seed_follows_that_of_the_fit(regressor, counter, data):
    counter.set_params(random_state=None)
    first, same = (clone(regressor).fit(data.graphs, data.y) for _ in range(2))
    other = clone(regressor).set_params(random_state=1).fit(data.graphs, data.y)
    assert_same_weights(weights(first), weights(same))
    name = "backbone.layers.0.edge.weight"
    assert not torch.equal(weights(first)[name], weights(other)[name])


def test_its_parameters_are_found_by_a_search(regressor):
    names = regressor.get_params()
    assert names["pretraining__objective__weight"] == 1.0
    assert names["pretraining__backbone__hidden_channels"] == 8
    assert regressor.set_params(pretraining__max_epochs=5).pretraining.max_epochs == 5


def test_save_and_load_with_pretraining(regressor, data, tmp_path):
    regressor.fit(data.graphs, data.y).save(tmp_path / "m.gnnpre")
    again = PropertyRegressor.load(tmp_path / "m.gnnpre")
    np.testing.assert_array_equal(again.predict(data.graphs), regressor.predict(data.graphs))
    refit = clone(again).fit(data.graphs, data.y)
    assert_same_weights(weights(refit), weights(regressor))


def test_groups_stay_together_in_pretraining_too(regressor, data, monkeypatch):
    splits = []
    train = _network.train

    def spy(spec, dataset, train_rows, valid_rows, *args, **kwargs):
        splits.append((set(groups[train_rows]), set(groups[valid_rows])))
        return train(spec, dataset, train_rows, valid_rows, *args, **kwargs)

    monkeypatch.setattr(_network, "train", spy)
    groups = np.arange(len(data.y)) // 2
    regressor.set_params(pretraining__validation_fraction=0.3, validation_fraction=0.3)
    regressor.fit(data.graphs, data.y, groups=groups)
    assert len(splits) == 2  # of the pre-training, and of the training after it
    assert all(valid and not training & valid for training, valid in splits)
