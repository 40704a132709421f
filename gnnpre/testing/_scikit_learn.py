"""Scikit-learn's own checks: which run as they are, which have a twin, which make no sense."""

import inspect
from collections.abc import Callable
from typing import Any

from sklearn.base import clone
from sklearn.utils import estimator_checks

from ._registry import STRUCTURE_CHECKS, Applies, always, is_no_pipeline, needs_fit

__all__ = ["ARRAY_FREE", "LEFT_OUT", "scikit_learn_checks"]

_NO_COLUMNS = "structures have no columns, dtype or memory layout"
_ARRAY_API = "structures are not arrays of any library; only what is computed from them is"
_CLUSTERS = "no clusterer takes structures: it comes after a transformer, as a step of a pipeline"
_OUTLIERS = (
    "no outlier detector takes structures: it comes after a transformer, as a step of a pipeline"
)
_MULTILABEL = "several classes for one crystal at once: no classifier on structures does it"
_ACCURACY = "asks a fit on a few samples to be accurate, which a short training on crystals is not"


def _has_defaults(estimator: Any) -> bool:
    """Whether its class can be called without arguments."""
    parameters = inspect.signature(type(estimator)).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.default is not p.empty or p.kind in kinds for p in parameters)


def _has_names_after_fit(estimator: Any) -> bool:
    has_names = hasattr(estimator, "get_feature_names_out")
    return has_names and needs_fit(estimator) and is_no_pipeline(estimator)


#: Checks that take no array and run as they are, with what each applies to.
ARRAY_FREE: dict[str, Applies] = {
    "check_estimator_cloneable": always,
    "check_estimator_tags_renamed": always,
    "check_valid_tag_types": always,
    "check_estimator_repr": always,
    "check_no_attributes_set_in_init": always,
    "check_do_not_raise_errors_in_init_or_set_params": always,
    "check_mixin_order": always,
    "check_get_feature_names_out_error": _has_names_after_fit,
    "check_parameters_default_constructible": _has_defaults,
    "check_get_params_invariance": always,
    "check_set_params": always,
}

#: Checks that make no sense on structures, with the reason.
LEFT_OUT: dict[str, str] = {
    "check_array_api_input": _ARRAY_API,
    "check_array_api_input_and_values": _ARRAY_API,
    "check_array_api_mixed_inputs": _ARRAY_API,
    "check_array_api_same_namespace": _ARRAY_API,
    "check_class_weight_balanced_classifiers": _ACCURACY,
    "check_class_weight_balanced_linear_classifier": "linear classifiers on columns alone",
    "check_class_weight_classifiers": _ACCURACY,
    "check_classifier_multioutput": _MULTILABEL,
    "check_classifiers_multilabel_output_format_decision_function": _MULTILABEL,
    "check_classifiers_multilabel_output_format_predict": _MULTILABEL,
    "check_classifiers_multilabel_output_format_predict_proba": _MULTILABEL,
    "check_classifiers_multilabel_representation_invariance": _MULTILABEL,
    "check_clusterer_compute_labels_predict": _CLUSTERS,
    "check_clustering": _CLUSTERS,
    "check_estimator": "is not a check, but what runs them",
    "check_estimators_dtypes": _NO_COLUMNS,
    "check_fit_non_negative": "structures are neither negative nor positive",
    "check_nonsquare_error": "structures are not a kernel matrix, which the tag pairwise is for",
    "check_outlier_contamination": _OUTLIERS,
    "check_outlier_corruption": _OUTLIERS,
    "check_outliers_fit_predict": _OUTLIERS,
    "check_outliers_train": _OUTLIERS,
    "check_param_validation": (
        "reads scikit-learn's private _parameter_constraints, which others need not have"
    ),
    "check_positive_only_tag_during_fit": "structures are neither negative nor positive",
    "check_sample_weight_equivalence_on_sparse_data": "structures are never sparse",
    "check_sparsify_coefficients": "linear models on columns alone",
    "check_transformer_preserve_dtypes": _NO_COLUMNS,
}


def scikit_learn_checks() -> dict[str, str]:
    """Return how each check of the installed scikit-learn is applied to structures.

    Returns
    -------
    dict of str to str
        For each name in ``sklearn.utils.estimator_checks``: ``"as it is"``, ``"twins: ..."`` with
        the names of the checks that stand for it, ``"left out: ..."`` with the reason, or
        ``"unknown"`` for a check of a newer version that nobody has looked at yet.

    See Also
    --------
    check_structure_estimator : Runs all checks that apply.

    Examples
    --------
    >>> from gnnpre.testing import scikit_learn_checks
    >>> checks = scikit_learn_checks()
    >>> checks["check_estimator_cloneable"]
    'as it is'
    >>> checks["check_fit_idempotent"]
    'twins: check_refit'
    >>> checks["check_nonsquare_error"]
    'left out: structures are not a kernel matrix, which the tag pairwise is for'
    """
    names = [
        name
        for name, value in vars(estimator_checks).items()
        if name.startswith("check_")
        and inspect.isfunction(value)
        and value.__module__ == estimator_checks.__name__
    ]
    return {name: _fate(name) for name in sorted(names)}


def _fate(name: str) -> str:
    if name in ARRAY_FREE:
        return "as it is"
    twins = [check.name for check in STRUCTURE_CHECKS if name in check.twin_of]
    if twins:
        return f"twins: {', '.join(twins)}"
    return f"left out: {LEFT_OUT[name]}" if name in LEFT_OUT else "unknown"


def array_free_checks(estimator: Any) -> dict[str, Callable[[Any], None]]:
    """Return scikit-learn's own checks that apply, as functions of an estimator."""
    return {
        name: _bind(getattr(estimator_checks, name))
        for name, applies in ARRAY_FREE.items()
        # Versions differ in which checks they have.
        if hasattr(estimator_checks, name) and applies(estimator)
    }


def _bind(check: Callable[[str, Any], None]) -> Callable[[Any], None]:
    def run(estimator: Any) -> None:
        check(type(estimator).__name__, clone(estimator))

    return run
