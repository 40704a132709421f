"""Scikit-learn's tools on top of the estimators: on real crystals where they are at hand."""

import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from pymatgen.core import Structure
from sklearn import config_context, set_config
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from gnnpre import (
    CGCNN,
    EAD,
    GMP,
    WACSF,
    Denoising,
    ForceField,
    Pretrainer,
    StructureToGraph,
)
from meta_estimators.settings import SMALL, N

# Folds this small leave elements out of the training.
pytestmark = [
    pytest.mark.filterwarnings("ignore:X holds elements:UserWarning"),
    pytest.mark.filterwarnings("ignore:. crystals are too few to hold out:UserWarning"),
]


@pytest.fixture
def fingerprints():
    """A model that takes a few milliseconds."""
    return make_pipeline(EAD(4.0, pooling="mean"), StandardScaler(), Ridge())


def pretrained():
    return Pretrainer(CGCNN(8, 1), ForceField(), **SMALL)


# Pipelines and unions


@pytest.mark.parametrize("make", [list, tuple, pd.Series])
def test_pipeline_on_containers(pipeline, data, make):
    X = make(data.structures)
    model = clone(pipeline).fit(X, data.y)
    expected = clone(pipeline).fit(data.structures, data.y).predict(data.structures)
    np.testing.assert_array_equal(model.predict(X), expected)
    assert model.score(X, data.y) == pytest.approx(model[-1].score(data.graphs, data.y), rel=1e-12)


def test_a_fitted_pipeline_is_pickled(pipeline, data):
    model = pipeline.fit(data.structures, data.y)
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again, Pipeline)
    np.testing.assert_array_equal(again.predict(data.structures), model.predict(data.structures))


def test_feature_union_of_fingerprints_and_embeddings(data):
    pretrainer = Pretrainer(CGCNN(8, 1), Denoising(), **SMALL).fit(data.structures)
    union = FeatureUnion(
        [
            ("learnt", FrozenEstimator(pretrainer)),
            ("ead", EAD(4.0, pooling="mean")),
            ("gmp", GMP((0.5,), (0, 1), pooling="sum")),
        ]
    )
    model = make_pipeline(union, StandardScaler(), Ridge()).fit(data.structures, data.y)
    widths = [part.transform(data.structures).shape[1] for _, part in model[0].transformer_list]
    assert model[-1].n_features_in_ == sum(widths)
    assert np.isfinite(cross_val_score(model, data.structures, data.y, cv=2)).all()


def test_column_transformer_over_a_table_with_a_column_of_structures(data):
    sizes = [float(len(structure)) for structure in data.structures]
    table = pd.DataFrame({"structure": data.structures, "n": sizes})
    columns = ColumnTransformer(
        [("ead", EAD(4.0, pooling="mean"), "structure"), ("n", StandardScaler(), ["n"])]
    )
    model = make_pipeline(columns, Ridge()).fit(table, data.y)
    expected = EAD(4.0, pooling="mean").transform(data.structures)
    np.testing.assert_array_equal(model[0].transform(table)[:, :-1], expected)
    names = model[0].get_feature_names_out()
    assert names[-1] == "n__n"
    assert names[0].startswith("ead__mean_ead")
    assert np.isfinite(cross_val_score(model, table, data.y, cv=2)).all()


def test_column_transformer_refuses_graphs(data):
    """Graphs are not columns: they go through a pipeline, not beside others."""
    table = pd.DataFrame({"structure": data.structures})
    columns = ColumnTransformer([("graphs", StructureToGraph(cutoff=4.0), "structure")])
    with pytest.raises(ValueError, match="should be 2D"):
        columns.fit_transform(table)
    with pytest.raises((TypeError, ValueError), match="graph"):
        make_union(StructureToGraph(cutoff=4.0), EAD(4.0, pooling="mean")).fit_transform(
            data.structures
        )


# Splits and searches


def test_train_test_split(data, frames):
    for X in (data.structures, data.graphs):
        train, test, y_train, y_test = train_test_split(X, data.y, random_state=0)
        assert (len(train), len(test)) == (len(y_train), len(y_test)) == (18, 6)
    train, test, y_train, y_test = train_test_split(frames.graphs, frames.y, random_state=0)
    model = pretrained().fit(train, y_train)
    assert np.isfinite(model.score(test, y_test))


def test_cross_val_score_and_predict(pipeline, data):
    folds = KFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(pipeline, data.structures, data.y, cv=folds)
    predicted = cross_val_predict(pipeline, data.structures, data.y, cv=folds)
    for score, (train, test) in zip(scores, folds.split(data.y), strict=True):
        model = clone(pipeline[-1]).fit(data.graphs[train], data.y[train])
        assert model.score(data.graphs[test], data.y[test]) == score
        np.testing.assert_array_equal(model.predict(data.graphs[test]), predicted[test])


def test_cross_validate_with_scorers_times_and_models(fingerprints, data):
    scoring = ["neg_mean_absolute_error", "r2"]
    result = cross_validate(
        fingerprints,
        data.structures,
        data.y,
        cv=3,
        scoring=scoring,
        return_train_score=True,
        return_estimator=True,
        return_indices=True,
    )
    for model, test, error in zip(
        result["estimator"],
        result["indices"]["test"],
        result["test_neg_mean_absolute_error"],
        strict=True,
    ):
        predicted = model.predict([data.structures[i] for i in test])
        assert error == pytest.approx(-np.abs(predicted - data.y[test]).mean())
    assert (result["train_r2"] > result["test_r2"]).all()


def test_one_and_two_jobs_give_the_same_bits(pipeline, data, frames):
    assert torch.get_num_threads() == 1
    arguments = {"cv": 3, "scoring": "neg_mean_absolute_error"}
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        one, two = (
            cross_val_score(pipeline, data.structures, data.y, n_jobs=n_jobs, **arguments)
            for n_jobs in (1, 2)
        )
        forces = [
            cross_val_score(pretrained(), frames.graphs, frames.y, cv=2, n_jobs=n_jobs)
            for n_jobs in (1, 2)
        ]
    assert one.tolist() == two.tolist()
    assert forces[0].tolist() == forces[1].tolist()


def test_grid_search_over_backbone_and_cutoff(pipeline, data):
    grid = {
        "propertyregressor__backbone__hidden_channels": [4, 8],
        "structuretograph__cutoff": [3.5, 4.0],
    }
    search = GridSearchCV(pipeline, grid, cv=2, scoring="neg_mean_absolute_error")
    search.fit(data.structures, data.y)
    best = search.best_params_
    graphs, regressor = search.best_estimator_
    assert regressor.spec_.cutoff == graphs.cutoff == best["structuretograph__cutoff"]
    channels = best["propertyregressor__backbone__hidden_channels"]
    assert regressor.net_.module_.backbone.out_channels == channels
    assert len(set(search.cv_results_["mean_test_score"])) == 4  # each setting made a difference
    assert search.predict(data.structures).shape == (N,)


def test_grid_search_over_whole_backbones(pipeline, data):
    backbones = [CGCNN(4, 1), CGCNN(4, 1, batch_norm=True)]
    search = GridSearchCV(pipeline, {"propertyregressor__backbone": backbones}, cv=2)
    search.fit(data.structures, data.y)
    assert search.best_params_["propertyregressor__backbone"] in backbones


def test_halving_search_over_fingerprints_and_epochs(fingerprints, pipeline, data):
    grid = {"ead__L": [0, 1], "ead__pooling": ["mean", "sum"], "ridge__alpha": [0.1, 10.0]}
    search = HalvingGridSearchCV(fingerprints, grid, cv=2, factor=2, random_state=0)
    search.fit(data.structures, data.y)
    assert search.n_candidates_[0] == 8
    assert search.n_resources_[-1] > search.n_resources_[0]
    # Epochs as what grows from round to round.
    search = HalvingGridSearchCV(
        pipeline,
        {"propertyregressor__learning_rate": [1e-4, 1e-3]},
        resource="propertyregressor__max_epochs",
        max_resources=2,
        min_resources=1,
        factor=2,
        cv=2,
        random_state=0,
    )
    search.fit(data.structures, data.y)
    assert search.n_resources_ == [1, 2]
    assert len(search.best_estimator_[-1].history_) == 2


def test_optuna_around_a_cross_validation(pipeline, data):
    def objective(trial):
        channels = trial.suggest_categorical("channels", [4, 8])
        rate = trial.suggest_float("rate", 1e-4, 1e-2, log=True)
        model = clone(pipeline).set_params(
            propertyregressor__backbone__hidden_channels=channels,
            propertyregressor__learning_rate=rate,
        )
        return cross_val_score(model, data.structures, data.y, cv=2).mean()

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0))
    study.optimize(objective, n_trials=2)
    values = [trial.value for trial in study.trials]
    assert np.isfinite(values).all()
    assert values[0] != values[1]


def test_learning_curve(pipeline, data):
    pipeline.set_params(propertyregressor__validation_fraction=0)
    sizes, train, test = learning_curve(
        pipeline, data.structures, data.y, train_sizes=[6, 10], cv=2, scoring="r2"
    )
    assert sizes.tolist() == [6, 10]
    assert np.isfinite(train).all()
    assert test.shape == (2, 2)


def test_pretrainer_in_a_cross_validation_with_frame_labels(frames):
    model = make_pipeline(StructureToGraph(cutoff=4.0), pretrained())
    scores = cross_val_score(model, frames.structures, frames.y, cv=KFold(4))
    for score, (train, test) in zip(scores, KFold(4).split(frames.groups), strict=True):
        alone = clone(model[-1]).fit(frames.graphs[train], frames.y[train])
        assert score == alone.score(frames.graphs[test], frames.y[test])
    search = GridSearchCV(model, {"pretrainer__objective__forces": [0.0, 1.0]}, cv=2)
    search.fit(frames.structures, frames.y)
    assert search.best_params_["pretrainer__objective__forces"] == 0.0  # a shorter sum


# Targets and ensembles


def test_transformed_target(pipeline, data):
    y = np.abs(data.y) + 1.0
    model = TransformedTargetRegressor(pipeline, func=np.log, inverse_func=np.exp)
    predicted = clone(model).fit(data.structures, y).predict(data.structures)
    by_hand = clone(pipeline).fit(data.structures, np.log(y)).predict(data.structures)
    np.testing.assert_allclose(predicted, np.exp(by_hand), rtol=1e-12)
    assert np.isfinite(cross_val_score(model, data.structures, y, cv=2)).all()


def test_multi_output_is_a_model_for_each_property(pipeline, data):
    y = np.column_stack([data.y, np.sqrt(np.abs(data.y))])
    model = MultiOutputRegressor(pipeline).fit(data.structures, y)
    predicted = model.predict(data.structures)
    for column in range(2):
        alone = clone(pipeline).fit(data.structures, y[:, column]).predict(data.structures)
        np.testing.assert_array_equal(predicted[:, column], alone)
    both = clone(pipeline).fit(data.structures, y).predict(data.structures)
    assert both.shape == predicted.shape


def test_stacking(pipeline, fingerprints, data):
    models = [("network", pipeline), ("fingerprints", fingerprints)]
    model = StackingRegressor(models, RidgeCV(), cv=2).fit(data.structures, data.y)
    assert model.predict(data.structures).shape == (N,)
    assert model.transform(data.structures).shape == (N, 2)


@pytest.mark.parametrize("ensemble", [StackingRegressor, VotingRegressor])
def test_tables_of_stacking_and_voting(pipeline, fingerprints, data, ensemble):
    # As docs/clients.md says: scikit-learn needs n_features_in_ of the first estimator.
    settings = {"cv": 2} if ensemble is StackingRegressor else {}
    models = [("network", pipeline), ("fingerprints", fingerprints)]
    with config_context(transform_output="pandas"):
        arrays = ensemble(models, **settings).set_output(transform="default")
        arrays.fit(data.structures, data.y)
        expected = arrays.transform(data.structures)
        predicted = arrays.predict(data.structures)
    counted = [("network", make_pipeline(FunctionTransformer(), pipeline)), models[1]]
    table = pd.DataFrame({"structure": data.structures}, index=np.arange(N) + 7)
    model = ensemble(counted, **settings).set_output(transform="pandas").fit(table, data.y)
    np.testing.assert_array_equal(model.predict(table), predicted)
    columns = model.transform(table)
    np.testing.assert_array_equal(columns, expected)
    np.testing.assert_array_equal(columns.index, table.index)
    assert [name.split("_")[1] for name in columns] == ["network", "fingerprints"]


def test_voting_is_the_mean(pipeline, fingerprints, data):
    model = VotingRegressor([("network", pipeline), ("fingerprints", fingerprints)])
    model.fit(data.structures, data.y)
    parts = [part.predict(data.structures) for part in model.estimators_]
    np.testing.assert_allclose(model.predict(data.structures), np.mean(parts, axis=0))


@pytest.mark.parametrize("ensemble", [BaggingRegressor, AdaBoostRegressor])
@pytest.mark.parametrize("kind", ["pipeline", "fingerprints"])
def test_ensembles_on_a_column_of_structures(request, data, ensemble, kind):
    part = request.getfixturevalue(kind)
    model = ensemble(part, n_estimators=2, random_state=0).fit(data.column, data.y)
    assert len(model.estimators_) == 2
    first, second = (one.predict(data.column) for one in model.estimators_)
    assert (first != second).any()
    assert model.predict(data.column).shape == (N,)


def test_permutation_importance_of_the_column_of_structures(fingerprints, data):
    model = fingerprints.fit(data.structures, data.y)
    result = permutation_importance(model, data.column, data.y, n_repeats=3, random_state=0)
    assert result.importances.shape == (1, 3)
    assert result.importances_mean[0] > 0


def test_equal_sized_structures_in_an_array_are_refused_with_the_reason(fingerprints, data):
    size = len(data.structures[0])
    equal = [structure for structure in data.structures if len(structure) == size]
    with pytest.raises(ValueError, match="keep the list"):
        fingerprints.fit(np.array(equal), data.y[: len(equal)])


# Tables with names


@pytest.fixture(params=["set_output", "set_config"])
def ask_for_pandas(request):
    """Ask for tables by either way; the global one ends with the test."""
    if request.param == "set_output":
        yield lambda model: model.set_output(transform="pandas")
        return
    set_config(transform_output="pandas")
    yield lambda model: model
    set_config(transform_output="default")


def test_tables_of_fingerprints_after_a_graph_step(ask_for_pandas, data):
    steps = [StructureToGraph(cutoff=4.0), WACSF(4.0, pooling="cumulants"), StandardScaler()]
    model = ask_for_pandas(make_pipeline(*steps)).fit(data.structures)
    table = model.transform(data.structures)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == list(WACSF(4.0, pooling="cumulants").get_feature_names_out())
    assert table.shape[0] == N


def test_tables_of_embeddings_after_a_graph_step(ask_for_pandas, data):
    embedding = Pretrainer(CGCNN(8, 1), Denoising(), **SMALL)
    model = ask_for_pandas(make_pipeline(StructureToGraph(cutoff=4.0), embedding, StandardScaler()))
    table = model.fit_transform(data.structures)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == [f"cgcnn{channel}" for channel in range(8)]
    pd.testing.assert_frame_equal(model.transform(data.structures), table)


def test_tables_of_a_frozen_embedding_beside_fingerprints(ask_for_pandas, data):
    embedding = Pretrainer(CGCNN(8, 1), Denoising(), **SMALL).fit(data.structures)
    union = make_union(FrozenEstimator(embedding), EAD(4.0, pooling="mean"))
    table = ask_for_pandas(union).fit_transform(data.structures)
    assert isinstance(table, pd.DataFrame)
    assert table.shape[0] == N
    model = make_pipeline(union, Ridge()).fit(data.structures, data.y)
    assert list(model[-1].feature_names_in_) == list(table.columns)


def test_pandas_everywhere_changes_no_prediction(pipeline, data):
    expected = clone(pipeline).fit(data.structures, data.y).predict(data.structures)
    with config_context(transform_output="pandas"):
        model = clone(pipeline).fit(data.structures, data.y)
        np.testing.assert_array_equal(model.predict(data.structures), expected)
        scores = cross_val_score(pipeline, data.structures, data.y, cv=2)
    np.testing.assert_array_equal(scores, cross_val_score(pipeline, data.structures, data.y, cv=2))


def test_html_of_what_is_built_from_the_estimators(pipeline, fingerprints, data):
    stack = StackingRegressor(
        [("network", pipeline), ("fingerprints", fingerprints)], Ridge(), cv=2
    )
    search = GridSearchCV(stack, {"final_estimator__alpha": [1.0]}, cv=2)
    for model in (search, search.fit(data.structures, data.y)):
        html = model._repr_html_()
        for name in ("GridSearchCV", "StructureToGraph", "PropertyRegressor", "CGCNN", "EAD"):
            assert name in html


def test_structures_are_as_they_were_after_all_of_it(fingerprints, pipeline, data):
    copies = [Structure.from_sites(structure.sites) for structure in data.structures]
    before = joblib.hash(copies)
    model = StackingRegressor([("a", pipeline), ("b", fingerprints)], Ridge(), cv=2)
    cross_val_score(model, copies, data.y, cv=2)
    assert joblib.hash(copies) == before


def test_two_jobs_share_the_cores():
    # Without the variables that pin threads in these tests: what a user's processes get.
    code = (
        "import os, joblib\n"
        "def threads():\n"
        "    import torch, gnnpre.estimators\n"
        "    return torch.get_num_threads()\n"
        "if __name__ == '__main__':\n"
        "    found = joblib.Parallel(n_jobs=2)(joblib.delayed(threads)() for _ in range(2))\n"
        "    assert sum(found) <= max(2, joblib.cpu_count()), found\n"
    )
    free = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=free, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
