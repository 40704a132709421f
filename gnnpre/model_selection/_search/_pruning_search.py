"""Hyper-parameter search by cross-validation with Optuna, pruned by epochs and folds."""

import copy
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import get_tags, indexable
from sklearn.utils.validation import _check_method_params

from gnnpre._labels import as_floats, as_labels
from gnnpre.training import allow_ctrl_c, delay_ctrl_c, draw_seed

from .._masked_scorer import check_complete_targets
from ._checks import check_search, check_splitter
from ._cross_validation import CrossValidation, find_callbacks, set_cloned
from ._identity import check_same_search, search_identity
from ._optuna_study import (
    StudyHandle,
    fail_lost_trials,
    is_in_memory,
    open_storage,
    open_study,
    quiet_optuna,
)
from ._results import best_index, check_failures, search_results
from ._run_trials import TrialRunner
from ._space import make_space

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

__all__ = ["PruningSearchCV"]

# The default pruner: trials before the first is pruned, and the share of a fold that is exempt.
STARTUP_TRIALS, WARMUP = 3, 0.2


class PruningSearchCV(BaseSearchCV):
    """Search hyper-parameters by cross-validation, and prune those that do badly early.

    Like ``GridSearchCV``, with an Optuna study instead of the grid. After each epoch of each fold
    the pruner sees the network's inner validation loss and may end the trial: in the first epochs
    of the first fold at best. This works through a ``Pipeline`` and any other estimator that
    contains one of gnnpre (or a skorch net); all others are pruned after folds, by their scores.

    Parameters
    ----------
    estimator : estimator
        The estimator to tune, such as a pipeline that ends with a
        :class:`~gnnpre.PropertyRegressor`.
    param_distributions : dict or callable
        From parameter names to distributions (``optuna.distributions``), as in
        ``optuna_integration.OptunaSearchCV``; or a function from an Optuna trial to a dict of
        parameters, such as ``lambda trial: suggest_params(pipeline, trial)``. The function is
        called again for trials that are over: it must depend on the trial alone.
    cv : int, splitter or iterable
        Folds, as in ``GridSearchCV``.
    n_trials : int, optional
        Total number of trials: those of an earlier run count, whether scored, pruned or failed in
        ``fit``. None for as many as begin within ``timeout``.
    timeout : float, optional
        Seconds after which no further trial begins.
    pruner : optuna.pruners.BasePruner, optional
        Decides when to end a trial; ``NopPruner()`` never does. By default a ``MedianPruner`` that
        exempts the first 3 trials and the first fifth of the epochs.
    sampler : optuna.samplers.BaseSampler, optional
        Proposes the next parameters; ``TPESampler`` by default, seeded by ``random_state``.
    storage : str or optuna.storages.BaseStorage, optional
        Where the trials are stored: in memory by default; a URL such as ``"sqlite:///study.db"`` or
        ``"postgresql://..."``; or a storage, such as
        ``JournalStorage(JournalFileBackend("study.log"))``.
    study_name : str, optional
        Name of the Optuna study. If the storage has it, the search continues it; a new one by
        default.
    n_jobs : int, optional
        Processes that run trials at the same time; they need a storage that is not in memory.
    scoring : str or callable, optional
        One score, larger is better; ``estimator.score`` by default.
    refit : bool
        Whether to fit the best parameters to all data in the end.
    random_state : int, RandomState instance or None
        Seed of the sampler; with an estimator that is seeded itself and one process, equal seeds
        give equal trials, also in a search that was interrupted.
    error_score : "raise" or float
        Score of a trial whose fit raises: it counts as failed, and the search goes on. ``"raise"``
        ends the search.
    monitor : str
        Column of ``history_`` that the pruner sees after an epoch; less is better. It should mean
        the same for all trials: a search over weights of an objective needs one part of the loss,
        such as ``"valid_forces"``.
    verbose : int
        0 for silence, 1 for Optuna's line on each trial.

    Attributes
    ----------
    best_estimator_ : estimator
        The best parameters, fitted to all data (with ``refit``).
    best_params_ : dict
        Parameters of the best trial.
    best_score_ : float
        Its mean score.
    best_index_ : int
        Its row in ``cv_results_``.
    cv_results_ : dict of str to array
        As in ``GridSearchCV``, with a row for each trial that is over, and two more columns:
        ``state`` (``"COMPLETE"``, ``"PRUNED"``, ``"FAIL"``) and ``trial``, its number. A pruned
        trial has the scores of the folds it finished and no mean.
    study_ : optuna.study.Study
        The Optuna study, for its plots and dashboard; in a pickle, a copy in memory.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the last fit.
    scorer_ : callable
        The scorer.

    See Also
    --------
    suggest_params : Search spaces of the estimators of this package.

    Notes
    -----
    After each fold a trial reports the mean score so far, so that values of pruned and of complete
    trials compare in Optuna's plots and dashboard; a trial that is pruned in its first fold has no
    value. The pruner sees minus the loss after each epoch, at step
    ``fold * max_epochs + epoch``, both from 0; where ``max_epochs`` is searched, its largest value
    counts. Networks without a validation part (``validation_fraction=0``) have no such losses, and
    are pruned like estimators without epochs: by the mean score so far, at step ``fold``. The test
    folds never decide about pruning within a fold.

    A process that is killed loses its current trial. The next ``fit`` marks such trials as failed
    and runs others instead. On the same machine it recognises them by their process; those of
    other machines by Optuna's heartbeat (five minutes), which a storage passed as URL has and a
    journal has not.

    Each trial is fitted in the process that drew it. More machines help by running the same search
    with the same ``storage`` and ``study_name``, started in any order or at the same time. A
    stored search is continued only if data, splits, scoring, search space and the other
    parameters of the estimator are the same; otherwise ``fit`` raises an error that says what
    differs. Inside a cross-validation leave ``study_name=None``.

    Examples
    --------
    >>> from optuna.distributions import FloatDistribution
    >>> from gnnpre import CGCNN, PropertyRegressor
    >>> from gnnpre.datasets import make_emt_property
    >>> from gnnpre.model_selection import PruningSearchCV
    >>> structures, y = make_emt_property(12, random_state=0)
    >>> search = PruningSearchCV(
    ...     PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0),
    ...     {"learning_rate": FloatDistribution(1e-3, 1e-1, log=True)},
    ...     cv=2,
    ...     n_trials=2,
    ...     random_state=0,
    ... )
    >>> search.fit(structures, y).predict(structures).shape
    (12,)
    >>> sorted(search.best_params_)
    ['learning_rate']
    """

    # Attributes that BaseSearchCV reads; there is no score of the training folds.
    return_train_score = False
    multimetric_ = False

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        cv: Any = 5,
        n_trials: int | None = 20,
        timeout: float | None = None,
        pruner: Any = None,
        sampler: Any = None,
        storage: Any = None,
        study_name: str | None = None,
        n_jobs: int | None = None,
        scoring: Any = None,
        refit: bool = True,
        random_state: Any = None,
        error_score: Any = np.nan,
        monitor: str = "valid_loss",
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.param_distributions = param_distributions
        self.cv = cv
        self.n_trials = n_trials
        self.timeout = timeout
        self.pruner = pruner
        self.sampler = sampler
        self.storage = storage
        self.study_name = study_name
        self.n_jobs = n_jobs
        self.scoring = scoring
        self.refit = refit
        self.random_state = random_state
        self.error_score = error_score
        self.monitor = monitor
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, **params: Any) -> "PruningSearchCV":
        """Run the remaining trials, and fit the best parameters.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), n structures, or any input of the estimator
            The crystals.
        y : array-like of shape (n,) or (n, k), or FrameLabels, optional
            The targets.
        **params : dict
            ``groups`` for the splitter, and parameters for the estimator's ``fit``; under
            metadata routing, each goes where it is requested.

        Returns
        -------
        PruningSearchCV
            This search.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as expected, or if no trial was scored.
        """
        start = time.time()
        # Ctrl-C ends a fit or a score, but no transaction of Optuna, which would hide it and
        # leave the trial open, and none of the imports for one.
        with delay_ctrl_c(), quiet_optuna(self.verbose):
            # 1. parameters and data
            check_search(self)
            X, y = indexable(X, y)
            # 2. the trials that are left; those that killed processes held are run again
            objective = self._objective(X, y, params)
            fail_lost_trials(objective.handle)
            runner = TrialRunner(
                objective,
                objective.handle,
                n_trials=self.n_trials,
                deadline=None if self.timeout is None else start + self.timeout,
                sampler=copy.deepcopy(self.sampler),
                seed=draw_seed(self.random_state),
                verbose=self.verbose,
            )
            runner.run(effective_n_jobs(self.n_jobs))
        # 3. results, and the best parameters fitted to all data
        self._conclude(objective)
        return self

    def _objective(self, X: Any, y: Any, params: dict[str, Any]) -> CrossValidation:
        """Collect the inputs that all trials share: data, folds, and the Optuna study."""
        # A missing group or weight is named here; splitters would raise NumPy's or pandas' errors.
        if params.get("groups") is not None:
            as_labels("groups", params["groups"])
        if params.get("sample_weight") is not None:
            as_floats("sample_weight", params["sample_weight"], n_dims=(1,), allow_missing=False)
        routed = self._get_routed_params_for_fit(_check_method_params(X, params))
        # 1. folds, the same for all trials
        cv = check_splitter(self.cv, y, is_classifier(self.estimator))
        splits = list(cv.split(X, y, **routed.splitter.split))
        # 2. the score
        scorer = check_scoring(self.estimator, self.scoring)
        check_complete_targets(scorer, y)
        # 3. the Optuna study, which may hold trials of an earlier run
        storage = open_storage(self.storage)
        if effective_n_jobs(self.n_jobs) > 1 and is_in_memory(storage):
            raise ValueError(
                f"n_jobs={self.n_jobs} processes cannot share a study in memory. Give a storage, "
                "such as storage='sqlite:///study.db', or set n_jobs=1."
            )
        space = make_space(self.param_distributions, self.estimator)
        metric = self.scoring if isinstance(self.scoring, str) else "score"
        pruner, fold_pruner = self._make_pruners()
        handle = open_study(storage, self.study_name, pruner, metric, fold_pruner)
        if self.study_name is not None:
            with allow_ctrl_c():  # a million crystals take a while
                identity = search_identity(
                    self.estimator,
                    X,
                    y,
                    splits,
                    self.scoring,
                    (routed.estimator.fit, routed.scorer.score),
                )
            check_same_search(handle.study, identity, space)
        return CrossValidation(
            estimator=clone(self.estimator),
            space=space,
            X=X,
            y=y,
            splits=splits,
            scorer=scorer,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            error_score=self.error_score,
            monitor=self.monitor,
            handle=handle,
        )

    def _make_pruners(self) -> "tuple[BasePruner, BasePruner]":
        """Return the pruner of epochs, and that of folds where there are no losses by epoch."""
        from optuna.pruners import MedianPruner

        if self.pruner is not None:
            pruner: BasePruner = copy.deepcopy(self.pruner)
            return pruner, pruner
        name = find_callbacks(self.estimator)
        epochs = 0
        if name is not None:
            epochs = self.estimator.get_params()[name.removesuffix("callbacks") + "max_epochs"]
        # A fifth of the epochs, as a number of folds, would exempt all of them.
        warmed_up = MedianPruner(STARTUP_TRIALS, n_warmup_steps=int(WARMUP * epochs))
        return warmed_up, MedianPruner(STARTUP_TRIALS)

    def _conclude(self, objective: CrossValidation) -> None:
        """Set the fitted attributes."""
        handle: StudyHandle = objective.handle
        check_failures(handle)
        self.study_ = handle.study
        self.n_splits_ = len(objective.splits)
        self.scorer_ = objective.scorer
        self.cv_results_ = search_results(handle, objective.space, self.n_splits_, self.error_score)
        self.best_index_ = best_index(self.cv_results_)
        self.best_score_ = self.cv_results_["mean_test_score"][self.best_index_]
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        if self.refit:
            self._refit(objective)

    def _refit(self, objective: CrossValidation) -> None:
        best = set_cloned(objective.estimator, self.best_params_)
        start = time.perf_counter()
        labels = () if objective.y is None else (objective.y,)
        self.best_estimator_ = best.fit(objective.X, *labels, **objective.fit_params)
        self.refit_time_ = time.perf_counter() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def __getstate__(self) -> dict[str, Any]:
        import optuna

        state: dict[str, Any] = super().__getstate__()
        study = state.get("study_")
        if study is not None and not is_in_memory(study._storage):
            # A model is loaded where there is no such file or server, and tells no password.
            memory = optuna.storages.InMemoryStorage()
            optuna.copy_study(
                from_study_name=study.study_name, from_storage=study._storage, to_storage=memory
            )
            name = study.study_name
            state["study_"] = optuna.load_study(study_name=name, storage=memory)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags.two_d_array = inner.input_tags.two_d_array
        tags.target_tags = copy.deepcopy(inner.target_tags)
        return tags
