"""Bad input: each with an error of its own that says what came and what was expected."""

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Lattice, Structure
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    ForceField,
    FrameLabels,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
    StructureToGraph,
)
from gnnpre.graphs import Crystals

NAN = np.nan


@pytest.fixture(autouse=True)
def _torch_stays_out(monkeypatch):
    """Bad input is found before a training begins."""

    def begin(*args, **kwargs):
        pytest.fail("a training began")

    monkeypatch.setattr("gnnpre.training._trainer.make_net", begin)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y is None.*requires y to be passed"),
        ([1.0, 2.0], r"y has shape \(2,\); X has 20 crystals"),
        (np.zeros((20, 1, 1)), r"y has shape \(20, 1, 1\); X has 20"),
        (np.zeros((1, 20)), r"y has shape \(1, 20\); X has 20"),
        (3.0, r"y has shape \(\); X has 20"),
        ([], r"y has shape \(0,\); X has 20"),
        (["a"] * 20, "y cannot be read as numbers"),
        ([object()] * 20, "y cannot be read as numbers"),
        (
            [1.0] * 3 + [NAN] + [1.0] * 16,
            r"missing \(NaN\) for 1 of 20 crystals, the first at row 3: leave them out",
        ),
        (
            np.array([[1.0]] * 19 + [[NAN]]),
            r"missing \(NaN\) for 1 of 20 crystals, the first at row 19",
        ),
        ([NAN] * 20, r"missing \(NaN\) for 20 of 20 crystals"),
        ([1.0] * 19 + [None], r"missing \(NaN\) for 1 of 20 crystals, the first at row 19"),
        (np.array([[1.0, NAN]] * 20), r"only missing values \(NaN\) in column 1"),
        ([np.inf] + [1.0] * 19, "y is inf at row 0"),
        ([[1.0, 2.0]] * 19 + [[1.0, -np.inf]], "y is -inf at row 19"),
    ],
)
def test_property_labels(regressor, data, y, message):
    with pytest.raises(ValueError, match=message):
        regressor.fit(data.graphs, y)


def test_ragged_labels(regressor, data):
    with pytest.raises(ValueError, match=r"y cannot be read as numbers.*same length"):
        regressor.fit(data.graphs, [[1.0, 2.0]] * 19 + [[1.0]])


@pytest.mark.parametrize("y", [np.zeros(20), [1.0] * 20, {"energy": 1}, "labels"])
def test_a_force_field_asks_for_frame_labels(pretrainer, data, y):
    with pytest.raises(TypeError, match=r"y is of type .*expects FrameLabels"):
        pretrainer.fit(data.graphs, y)


def test_a_force_field_needs_labels(pretrainer, data):
    with pytest.raises(ValueError, match="y is None, but ForceField learns from labels"):
        pretrainer.fit(data.graphs)


def test_frame_labels_of_another_length_or_order(pretrainer, data):
    with pytest.raises(ValueError, match="y has 19 frames; X has 20 crystals"):
        pretrainer.fit(data.graphs, data.labels[:-1])
    order = np.argsort(data.labels.n_atoms, kind="stable")
    with pytest.raises(ValueError, match=r"atoms in frame \d+; crystal \d+ of X has.*same order"):
        pretrainer.fit(data.graphs, data.labels[order])


@pytest.mark.parametrize("missing", ["energy", "forces", "stress"])
def test_frame_labels_that_are_all_missing(pretrainer, data, missing):
    parts = {name: getattr(data.labels, name) for name in ("energy", "forces", "stress")}
    labels = FrameLabels(data.labels.n_atoms, **{**parts, missing: None})
    with pytest.raises(ValueError, match=f"y has no {missing}.*Set {missing}=0"):
        pretrainer.fit(data.graphs, labels)


@pytest.mark.parametrize("kind", ["pretrainer", "regressor"])
@pytest.mark.parametrize("name", ["groups", "sample_weight"])
@pytest.mark.parametrize("value", [np.ones(19), np.ones((20, 1)), [1.0]])
def test_groups_and_sample_weight_of_wrong_shape(request, data, kind, name, value):
    estimator = request.getfixturevalue(kind)
    y = data.labels if kind == "pretrainer" else data.y
    with pytest.raises(ValueError, match=rf"{name} has shape .*X has 20 crystals"):
        estimator.fit(data.graphs, y, **{name: value})


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-1.0, "sample_weight is -1 at row 1; expected weights that are not negative"),
        (NAN, r"sample_weight is missing \(NaN\) for 1 of 20 crystals, the first at row 1"),
        (None, r"sample_weight is missing \(NaN\)"),
        (np.inf, "sample_weight is inf at row 1"),
        ("1", "sample_weight cannot be read as numbers.*1 of 20 rows hold text"),
        (1j, "sample_weight cannot be read as numbers.*hold complex"),
    ],
)
def test_sample_weight_of_wrong_values(regressor, data, weight, message):
    with pytest.raises(ValueError, match=message):
        regressor.fit(data.graphs, data.y, sample_weight=[1.0, weight] + [1.0] * 18)


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([pd.NA] + ["a"] * 19, ValueError, r"groups is missing \(NaN\) for 1 of 20.*row 0"),
        ({i: i for i in range(20)}, TypeError, r"groups is of type dict.*list\(groups.values"),
        ([{}] * 20, TypeError, "groups holds a dict at row 0"),
    ],
)
def test_groups_of_wrong_values(regressor, data, groups, error, message):
    with pytest.raises(error, match=message):
        regressor.fit(data.graphs, data.y, groups=groups)


def test_sample_weight_of_nothing(regressor, data):
    with pytest.raises(ValueError, match="zero for all crystals"):
        regressor.fit(data.graphs, data.y, sample_weight=np.zeros(20))


PARAMETERS = [
    ("max_epochs", 0),
    ("max_epochs", 1.5),
    ("max_epochs", None),
    ("batch_size", 0),
    ("batch_size", True),
    ("batch_size", "32"),
    ("max_edges", 0),
    ("learning_rate", 0),
    ("learning_rate", -1e-3),
    ("learning_rate", NAN),
    ("learning_rate", np.inf),
    ("weight_decay", -0.1),
    ("schedule", "warmup"),
    ("schedule", 3),
    ("gradient_clip", 0),
    ("ema_decay", 1.0),
    ("ema_decay", 0),
    ("patience", 0),
    ("restore_best", "yes"),
    ("resume", 1),
    ("dtype", "float16"),
    ("dtype", torch.float32),
    ("verbose", -1),
    ("validation_fraction", 1.0),
    ("validation_fraction", -0.1),
    ("validation_fraction", "0.1"),
    ("device", "tpu"),
    ("device", None),
    ("device", "cuda:77" if not torch.cuda.is_available() else "cuda:x"),
]


@pytest.mark.parametrize(("name", "value"), PARAMETERS)
@pytest.mark.parametrize("kind", ["pretrainer", "regressor"])
def test_parameters_out_of_range(request, data, kind, name, value):
    estimator = request.getfixturevalue(kind).set_params(**{name: value})
    y = data.labels if kind == "pretrainer" else data.y
    with pytest.raises(ValueError, match=f"{name}="):
        estimator.fit(data.graphs, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("transfer", "all"),
        ("strategy", "frozen"),
        ("layer_decay", 1.5),
        ("frozen_epochs", 0),
        ("backbone_lr_scale", -1.0),
        ("backbone_lr_scale", "slow"),
        ("loss", "mae"),
        ("huber_delta", 0.0),
    ],
)
def test_parameters_of_the_regressor_out_of_range(regressor, data, name, value):
    with pytest.raises(ValueError, match=f"{name}="):
        regressor.set_params(**{name: value}).fit(data.graphs, data.y)


@pytest.mark.parametrize("value", ["abc", -1, 1.5])
def test_random_state(regressor, data, value):
    with pytest.raises(ValueError, match=r"seed|random_state|2\*\*32"):
        regressor.set_params(random_state=value).fit(data.graphs, data.y)


@pytest.mark.parametrize("value", ["cgcnn", CGCNN, 64, ForceField()])
def test_backbone_of_wrong_type(pretrainer, regressor, data, value):
    for estimator, y in ((pretrainer, data.labels), (regressor, data.y)):
        with pytest.raises(TypeError, match=r"backbone is .*config such as CGCNN\(\)"):
            estimator.set_params(backbone=value).fit(data.graphs, y)


@pytest.mark.parametrize("value", ["forces", ForceField, CGCNN()])
def test_objective_of_wrong_type(pretrainer, data, value):
    with pytest.raises(TypeError, match=r"objective is .*config such as ForceField\(\)"):
        pretrainer.set_params(objective=value).fit(data.graphs, data.labels)


@pytest.mark.parametrize("cls", [Pretrainer, PropertyRegressor])
def test_unknown_parameter_names(cls):
    with pytest.raises(TypeError, match="hidden_channels"):
        cls(hidden_channels=8)
    with pytest.raises(ValueError, match="Invalid parameter 'hidden_channels'"):
        cls().set_params(hidden_channels=8)
    with pytest.raises(ValueError, match="Invalid parameter 'width'"):
        cls(CGCNN()).set_params(backbone__width=8)
    with pytest.raises(TypeError, match="positional"):
        cls(CGCNN(), ForceField(), 10)


def test_unknown_parameter_name_in_a_search(regressor, data):
    model = make_pipeline(StructureToGraph(cutoff=4.0), regressor)
    search = GridSearchCV(model, {"propertyregressor__backbone__channels": [8]})
    with pytest.raises(ValueError, match="Invalid parameter 'channels'"):
        search.fit(data.structures, data.y)


def test_no_crystals(regressor, data):
    for X in ([], data.graphs[:0]):
        with pytest.raises(ValueError, match="minimum of 1 is required"):
            regressor.fit(X, [])


@pytest.mark.parametrize("bad", ["POSCAR", None, 3, np.ones(3)])
def test_no_structure_among_structures(regressor, data, bad):
    with pytest.raises(TypeError, match=r"X\[1\] is (of type|the text)"):
        regressor.fit([data.structures[0], bad], [1.0, 2.0])


def test_the_pair_that_readers_return(regressor, data):
    pair = (Crystals.from_structures(data.structures), data.y)
    with pytest.raises(TypeError, match=r"X\[0\] is of type Crystals.*pass the first of the two"):
        regressor.fit(pair, data.y)


def test_one_structure_in_place_of_a_list(regressor, data):
    with pytest.raises(TypeError, match=r"X is one Structure.*Pass \[structure\]"):
        regressor.fit(data.structures[0], [1.0])


@pytest.mark.parametrize("element", ["Md", "Og"])  # 101 and 118
def test_elements_above_the_range(regressor, data, element):
    heavy = Structure(Lattice.cubic(3.0), [element], [[0, 0, 0]])
    regressor.set_params(validation_fraction=0)
    with pytest.raises(ValueError, match=r"Crystal 2 of X holds.*atomic number 1\d\d.*1 to 100"):
        regressor.fit([*data.structures[:2], heavy], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("what", ["pretrained", "pretraining"])
def test_one_place_to_start_from(regressor, data, pretrained, what):
    regressor.set_params(**{what: FrozenEstimator(pretrained)})
    with pytest.raises(ValueError, match=rf"backbone and {what} are both given"):
        regressor.fit(data.graphs, data.y)


def test_pretrained_and_pretraining_exclude_each_other(regressor, data, pretrained):
    regressor.set_params(backbone=None, pretrained="a.gnnpre", pretraining=Pretrainer())
    with pytest.raises(ValueError, match="pretrained and pretraining are both given"):
        regressor.fit(data.graphs, data.y)


@pytest.mark.parametrize("fitted", [True, False])
def test_a_bare_pretrainer_is_refused(regressor, data, pretrained, fitted):
    bare = pretrained if fitted else Pretrainer()
    regressor.set_params(backbone=None, pretrained=bare)
    with pytest.raises(TypeError, match=r"FrozenEstimator\(pretrainer\)"):
        regressor.fit(data.graphs, data.y)


def test_frozen_around_something_else(regressor, data):
    regressor.set_params(backbone=None, pretrained=FrozenEstimator(DummyRegressor()))
    with pytest.raises(TypeError, match=r"expected a name of .* the path of a saved estimator"):
        regressor.fit(data.graphs, data.y)


def test_frozen_around_an_unfitted_pretrainer(regressor, data):
    regressor.set_params(backbone=None, pretrained=FrozenEstimator(Pretrainer()))
    with pytest.raises(NotFittedError, match="not fitted: fit it first"):
        regressor.fit(data.graphs, data.y)


@pytest.mark.parametrize("objective", [None, ForceField(), PropertyTargets()])
def test_pretraining_that_needs_labels(regressor, data, objective):
    regressor.set_params(backbone=None, pretraining=Pretrainer(CGCNN(8, 1), objective))
    with pytest.raises(ValueError, match=r"pretraining has the objective .*learns from labels"):
        regressor.fit(data.graphs, data.y)


def test_pretraining_of_wrong_type(regressor, data, pretrained):
    for value in ("file.gnnpre", FrozenEstimator(pretrained), CGCNN()):
        regressor.set_params(backbone=None, pretraining=value)
        with pytest.raises(TypeError, match="expected an unfitted Pretrainer"):
            regressor.fit(data.graphs, data.y)


@pytest.mark.parametrize("strategy", ["head", "frozen_then_full", "layerwise", "replay"])
def test_strategies_need_a_pretrained_model(regressor, data, strategy):
    with pytest.raises(ValueError, match=f"strategy='{strategy}'.*without pretrained or"):
        regressor.set_params(strategy=strategy).fit(data.graphs, data.y)


def test_a_missing_file(regressor, data, tmp_path):
    regressor.set_params(backbone=None, pretrained=str(tmp_path / "none.gnnpre"))
    with pytest.raises(FileNotFoundError, match=r"none\.gnnpre"):
        regressor.fit(data.graphs, data.y)


def test_a_truncated_file(regressor, data, pretrained, tmp_path):
    path = tmp_path / "model.gnnpre"
    pretrained.save(path)
    path.write_bytes(path.read_bytes()[:-50])
    regressor.set_params(backbone=None, pretrained=path)
    with pytest.raises(ValueError, match="truncated"):
        regressor.fit(data.graphs, data.y)


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"cutoff": 5.0}, "cutoff is 5.0, not 4.0"),
        ({"cutoff": 4.0, "max_neighbors": 12}, "max_neighbors is 12, not None"),
    ],
)
def test_graphs_of_other_settings(regressor, data, pretrained, settings, difference):
    other = StructureToGraph(**settings).transform(data.structures)
    hint = r".*StructureToGraph\(cutoff=4.0\)"
    regressor.set_params(backbone=None, pretrained=FrozenEstimator(pretrained))
    with pytest.raises(ValueError, match=difference + hint):
        regressor.fit(other, data.y)
    for method in (pretrained.predict, pretrained.transform):
        with pytest.raises(ValueError, match=difference + hint):
            method(other)
    with pytest.raises(ValueError, match=difference + hint):
        pretrained.score(other, data.labels)


@pytest.mark.parametrize("method", ["predict", "transform", "score", "save"])
def test_not_fitted(pretrainer, data, tmp_path, method):
    arguments = {"score": (data.graphs, data.labels), "save": (tmp_path / "x.gnnpre",)}
    with pytest.raises(NotFittedError):
        getattr(pretrainer, method)(*arguments.get(method, (data.graphs,)))
    with pytest.raises(NotFittedError):
        pretrainer.get_feature_names_out()
    assert not hasattr(pretrainer, "history_")
