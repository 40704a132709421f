from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin

class BaseSearchCV(MetaEstimatorMixin, BaseEstimator):
    estimator: Any
    scoring: Any
    n_jobs: int | None
    refit: Any
    cv: Any
    verbose: int
    pre_dispatch: Any
    error_score: Any
    return_train_score: bool
    best_estimator_: Any
    best_score_: float
    best_params_: dict[str, Any]
    best_index_: int
    cv_results_: dict[str, Any]
    n_splits_: int
    multimetric_: bool
    scorer_: Any
    refit_time_: float
    classes_: np.ndarray
    def __init__(
        self,
        estimator: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = ...,
        return_train_score: bool = True,
    ) -> None: ...
    def fit(self, X: Any, y: Any = None, **params: Any) -> Any: ...
    def score(self, X: Any, y: Any = None, **params: Any) -> float: ...
    def predict(self, X: Any) -> Any: ...
    def transform(self, X: Any) -> Any: ...
    def _run_search(self, evaluate_candidates: Callable[..., Any]) -> None: ...
    def _get_scorers(self) -> Any: ...
    def _get_routed_params_for_fit(self, params: Any) -> Any: ...
    def _select_best_index(self, refit: Any, refit_metric: str, results: Any) -> int: ...
    def _format_results(
        self, candidate_params: Any, n_splits: int, out: Any, more_results: Any = None
    ) -> Any: ...

def __getattr__(name: str) -> Any: ...
