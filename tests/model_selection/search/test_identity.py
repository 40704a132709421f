"""A stored search is continued only as it was begun, however many processes begin it."""

import multiprocessing

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.dummy import DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import KFold, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from gnnpre import EAD, PropertyRegressor
from gnnpre.model_selection import PruningSearchCV
from gnnpre.model_selection._search._identity import search_identity

X = np.random.default_rng(0).normal(size=(24, 3))
Y = X @ [1.0, 2.0, 3.0] + 0.1 * X[:, 0] ** 2
ALPHA = "ridge__alpha"


def pipe(scaler=StandardScaler, **parameters):
    return make_pipeline(scaler(), Ridge(**parameters))


def solver_space(choices=("svd", "cholesky"), low=1e-3):
    def space(trial):
        solver = trial.suggest_categorical("ridge__solver", choices)
        return {"ridge__solver": solver, ALPHA: trial.suggest_float(ALPHA, low, 1e3, log=True)}

    return space


@pytest.fixture
def fit(tmp_path):
    """Continue one stored search, with some of its settings changed."""

    def fit_search(X=X, y=Y, estimator=None, space=None, n_trials=2, **settings):
        settings = {"cv": KFold(3), "storage": f"sqlite:///{tmp_path}/study.db", **settings}
        settings.setdefault("study_name", "ridge")
        space = space or solver_space()
        search = PruningSearchCV(
            estimator or pipe(), space, n_trials=n_trials, random_state=0, **settings
        )
        return search.fit(X, y)

    return fit_search


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": solver_space(("svd", "lsqr"))},
            "another space: 'ridge__solver' was Categorical.*'svd', 'cholesky'",
        ),
        ({"space": solver_space(("svd", "cholesky", "lsqr"))}, "another space"),
        ({"space": solver_space(low=1e-5)}, r"alpha' was Float.*trial 0 and is Float.* now"),
        ({"space": {ALPHA: FloatDistribution(1e-3, 1e3, log=True)}}, "solver'.*is not searched"),
        (
            {"space": {ALPHA: CategoricalDistribution([1.0, 2.0])}},
            "another space",
        ),
        (
            {"space": lambda t: {**solver_space()(t), "ridge__tol": t.suggest_float("tol", 0, 1)}},
            "another space.*'tol'",
        ),
        ({"estimator": pipe(fit_intercept=False)}, "fit_intercept was True and is False now"),
        ({"estimator": pipe(MinMaxScaler)}, "another estimator.*standardscaler"),
        ({"cv": KFold(4)}, "other splits"),
        ({"cv": KFold(3, shuffle=True, random_state=1)}, "other splits"),
        ({"scoring": "r2"}, "scored by None; scoring is 'r2' now"),
        ({"y": Y + 1}, "other data"),
        ({"X": X[::-1]}, "other data"),
    ],
)
def test_a_changed_search_is_refused_with_the_change_named(fit, changes, message):
    first = fit()
    with pytest.raises(ValueError, match=rf"study_name='ridge' is.*{message}(.|\n)*Choose another"):
        fit(**changes)
    # Nothing was added, and the search as it was goes on.
    assert len(first.study_.trials) == 2
    assert len(fit(n_trials=3).cv_results_["params"]) == 3
    assert len(fit(**changes, study_name="other").cv_results_["params"]) == 2


def test_what_does_not_matter_may_change(fit):
    fit()
    # A parameter that is searched, and those that decide no result.
    fit(estimator=pipe(alpha=7.0, solver="svd").set_params(verbose=True), n_trials=3)
    assert len(fit(n_trials=4, verbose=0, refit=False).cv_results_["params"]) == 4


def test_scorers_are_told_apart_by_their_metric(fit):
    fit(scoring=make_scorer(mean_absolute_error, greater_is_better=False))
    fit(scoring=make_scorer(mean_absolute_error, greater_is_better=False), n_trials=3)
    with pytest.raises(ValueError, match="scored by make_scorer"):
        fit(scoring=make_scorer(mean_absolute_error))


def test_conditional_spaces_are_continued(fit):
    def space(trial):
        if trial.suggest_categorical("linear", [True, False]):
            return {ALPHA: trial.suggest_float("alpha", 0.1, 10)}
        return {"ridge__max_iter": trial.suggest_int("steps", 5, 50)}

    fit(space=space, n_trials=4)
    assert len(fit(space=space, n_trials=6).cv_results_["params"]) == 6


def test_a_study_without_trials_becomes_one_of_the_search(fit, tmp_path):
    optuna.create_study(
        storage=f"sqlite:///{tmp_path}/study.db", study_name="ridge", direction="maximize"
    )
    assert len(fit().cv_results_["params"]) == 2


def test_trials_of_ones_own_study_are_checked_too(fit, tmp_path):
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/study.db", study_name="ridge", direction="maximize"
    )
    space = {"depth": IntDistribution(1, 5)}
    study.add_trial(optuna.create_trial(params={"depth": 2}, distributions=space, value=1.0))
    with pytest.raises(ValueError, match="another space"):
        fit()


def _search(url, barrier, queue):
    barrier.wait()
    try:
        search = PruningSearchCV(
            DummyRegressor(strategy="constant", constant=0.0),
            {"constant": FloatDistribution(0.0, 1.0)},
            cv=2, n_trials=4, storage=url, study_name="shared", random_state=0,
        )  # fmt: skip
        queue.put(len(search.fit(X, Y).cv_results_["params"]))
    except Exception as error:
        queue.put(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("attempt", range(3))
def test_four_processes_start_one_search_at_once(tmp_path, attempt):
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(4), context.Queue()
    arguments = (f"sqlite:///{tmp_path}/study.db", barrier, queue)
    processes = [context.Process(target=_search, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert all(isinstance(result, int) for result in results), results
    [study] = optuna.study.get_all_study_summaries(f"sqlite:///{tmp_path}/study.db")
    assert study.n_trials >= 4


def test_other_weights_or_frozen_steps_are_another_search(tmp_path):
    def search(estimator, name, **fit_params):
        storage = f"sqlite:///{tmp_path}/study.db"
        found = PruningSearchCV(
            estimator,
            {ALPHA: CategoricalDistribution([1.0])},
            cv=2,
            n_trials=1,
            storage=storage,
            study_name=name,
        )
        return found.fit(X, Y, **fit_params)

    search(pipe(), "weights", ridge__sample_weight=np.ones(len(X)))
    with pytest.raises(ValueError, match="other parameters of fit or score"):
        search(pipe(), "weights", ridge__sample_weight=np.linspace(1, 2, len(X)))
    scalers = [FrozenEstimator(StandardScaler().fit(factor * X)) for factor in (1, 1000)]
    search(make_pipeline(scalers[0], Ridge()), "frozen")
    with pytest.raises(ValueError, match=r"was FrozenEstimator .* and is FrozenEstimator .* now"):
        search(make_pipeline(scalers[1], Ridge()), "frozen")


def folds(n, n_valid):
    return PredefinedSplit(np.repeat([-1, 0], [n - n_valid, n_valid]))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        # Transformers in a list, whose parameters have no names in the estimator.
        ("kernel_features", ["composition", EAD(4.0)], ["composition", EAD(5.0)]),
        ("kernel_features", [make_pipeline(EAD(L=0))], [make_pipeline(EAD(L=1))]),
        # Texts that are cut, or abbreviated by NumPy.
        ("validation_fraction", folds(100, 5), folds(100, 6)),
        ("validation_fraction", folds(5000, 5), folds(5000, 500)),
    ],
)
def test_a_parameter_that_differs_in_detail_is_another_search(name, before, after):
    first, second, again = (
        search_identity(PropertyRegressor(**{name: value}), X, Y, [], None, {})
        for value in (before, after, before)
    )
    assert first == again
    assert first != second
