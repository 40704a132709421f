"""Search spaces of all estimators, backbones, objectives and fingerprints."""

import numpy as np
import optuna
import pytest
from optuna.trial import FixedTrial
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from cases import BACKBONES, OBJECTIVES
from gnnpre import (
    CGCNN,
    EAD,
    GMP,
    WACSF,
    Denoising,
    ForceField,
    Pretrainer,
    PropertyRegressor,
    StructureToGraph,
    TorchMDNet,
)
from gnnpre.estimators import PropertyClassifier
from gnnpre.model_selection import suggest_params
from model_selection.search.search_cases import make_data, make_search

pytestmark = pytest.mark.filterwarnings("ignore:X holds elements:UserWarning")

PIPELINES = {
    "scratch": make_pipeline(StructureToGraph(), PropertyRegressor(CGCNN())),
    "torchmdnet": make_pipeline(StructureToGraph(), PropertyRegressor(TorchMDNet())),
    "defaults": make_pipeline(StructureToGraph(), PropertyRegressor()),
    "pretraining": PropertyRegressor(pretraining=Pretrainer(CGCNN(), Denoising())),
    "classifier": PropertyClassifier(CGCNN()),
    "transformed": TransformedTargetRegressor(PropertyRegressor(CGCNN())),
    "fingerprint": make_pipeline(EAD(pooling="mean"), Ridge()),
    "forces": make_pipeline(StructureToGraph(), Pretrainer(CGCNN(), ForceField())),
    "nothing given": Pretrainer(),
    **{f"backbone {name}": backbone for name, backbone in BACKBONES.items()},
    **{
        f"objective {name}": Pretrainer(CGCNN(), objective)
        for name, objective in OBJECTIVES.items()
    },
    **{f"fingerprint {type(x).__name__}": x for x in (EAD(), GMP(pooling="cumulants"), WACSF())},
}


def draw(estimator, n=8, prefix=""):
    """Draw often: the drawn parameters, and the trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    trials = [study.ask() for _ in range(n)]
    return [suggest_params(estimator, trial, prefix) for trial in trials], trials


@pytest.mark.parametrize("name", PIPELINES)
def test_what_is_suggested_can_be_set(name):
    drawn, trials = draw(PIPELINES[name])
    for params, trial in zip(drawn, trials, strict=True):
        model = clone(PIPELINES[name]).set_params(**params)
        now = model.get_params()
        assert all(now[key] == params[key] for key in trial.params)
    assert len({str(params) for params in drawn}) > 2


@pytest.mark.parametrize("name", PIPELINES)
def test_a_trial_that_is_over_gives_the_same_again(name):
    drawn, trials = draw(PIPELINES[name], n=2)
    for params, trial in zip(drawn, trials, strict=True):
        frozen = trial.study.tell(trial, 0.0)
        assert str(suggest_params(PIPELINES[name], frozen)) == str(params)


@pytest.mark.parametrize("heads", [2, 8, 7])
def test_widths_are_multiples_of_the_heads(heads):
    backbone = TorchMDNet(hidden_channels=14, n_heads=heads)
    for params in draw(backbone)[0]:
        clone(backbone).set_params(**params).build(cutoff=5.0)


def test_a_pre_trained_model_decides_backbone_and_graphs():
    frozen = FrozenEstimator(Pretrainer(CGCNN()))
    for pretrained in ("forces.gnnpre", frozen):
        regressor = PropertyRegressor(pretrained=pretrained, strategy="full")
        model = make_pipeline(StructureToGraph(), regressor)
        names = {name.removeprefix("propertyregressor__") for name in draw(model)[0][0]}
        assert names == {
            "learning_rate",
            "batch_size",
            "weight_decay",
            "backbone_lr_scale",
            "head_layers",
            "strategy",
        }
    model[-1].strategy = "head"
    names = set(draw(model)[0][0])
    assert not names & {"propertyregressor__backbone_lr_scale", "propertyregressor__strategy"}
    model[-1].strategy = "auto"  # exchanged for another one, the kernel machine would be lost
    names = set(draw(model)[0][0])
    assert "propertyregressor__backbone_lr_scale" in names
    assert "propertyregressor__strategy" not in names
    model[-1].strategy = "kernel"  # no network is trained
    assert draw(model)[0][0] == {}


def test_what_is_none_becomes_its_default():
    params = draw(Pretrainer())[0][0]
    assert isinstance(params["backbone"], CGCNN)
    assert isinstance(params["objective"], ForceField)
    assert {"backbone__n_layers", "objective__forces"} <= set(params)
    inner = PropertyRegressor(pretraining=Pretrainer(objective=Denoising()))
    params = draw(inner)[0][0]
    assert "pretraining__backbone__n_layers" in params
    assert "backbone" not in params


def test_weights_of_a_mixture_but_the_first():
    params = draw(OBJECTIVES["mixture"])[0][0]
    assert {"noise_weight", "ead_weight", "forces__forces", "noise__noise"} <= set(params)
    assert "forces_weight" not in params


def test_a_weight_of_zero_stays():
    assert set(draw(ForceField(forces=0))[0][0]) == {"stress"}


def test_pooling_of_pooled_fingerprints_alone():
    assert "pooling" in draw(EAD(pooling="mean"))[0][0]
    assert "pooling" not in draw(EAD())[0][0]
    assert "pooling" not in draw(EAD(pooling="sum"))[0][0]


def test_orders_of_multipoles():
    params = suggest_params(GMP(), FixedTrial({"orders": 2, "square": True}))
    assert params == {"orders": (-1, 0, 1, 2), "square": True}


def test_prefix():
    (params, *_), (trial, *_) = draw(CGCNN(), prefix="regressor__backbone__")
    assert set(params) == set(trial.params)
    assert all(name.startswith("regressor__backbone__") for name in params)


@pytest.mark.parametrize("estimator", [Ridge(), "CGCNN", None])
def test_nothing_to_suggest(estimator):
    with pytest.raises(ValueError, match="nothing with a search space"):
        suggest_params(estimator, FixedTrial({}))


def test_as_the_space_of_a_search():
    structures, y = make_data()
    model = make_pipeline(
        StructureToGraph(), PropertyRegressor(max_epochs=1, validation_fraction=0.2, random_state=0)
    )
    search = make_search(model, lambda trial: suggest_params(model, trial), n_trials=2)
    search.fit(structures, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    backbone = best[-1].spec_.backbone
    params = search.best_params_
    assert backbone.hidden_channels == params["propertyregressor__backbone__hidden_channels"]
    assert best[0].cutoff == params["structuretograph__cutoff"]
    assert search.study_.best_params == {
        name: value for name, value in params.items() if name != "propertyregressor__backbone"
    }


@pytest.mark.parametrize("trial", [3, None, {"hidden_channels": 32}, np.zeros(2)])
def test_a_trial_that_is_none_is_named(trial):
    with pytest.raises(TypeError, match=r"trial is of type .*; expected a trial of Optuna"):
        suggest_params(CGCNN(), trial)


@pytest.mark.parametrize("prefix", [1e-9, None, ["net"]])
def test_a_prefix_that_is_no_text_is_named(prefix):
    with pytest.raises(TypeError, match=r"prefix=.*; expected a text"):
        suggest_params(CGCNN(), FixedTrial({}), prefix=prefix)
