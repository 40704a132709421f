"""The forms of a property: numbers of a crystal, of its atoms, a vector, or a tensor."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.metrics import r2_score

from gnnpre._atom_labels import atom_rows, object_rows
from gnnpre._labels import as_floats, rows_text
from gnnpre._validation import check_choice
from gnnpre.objectives import (
    AtomTargets,
    Objective,
    PropertyTargets,
    Targets,
    TensorTargets,
    tensor_form,
)

__all__ = [
    "TARGETS",
    "PropertyForm",
    "form_of_objective",
    "form_of_target",
    "target_names",
]

TARGETS = ("crystal", "atom", "vector", "tensor")


class PropertyForm:
    """Differences of ``fit`` and ``score`` between the values of the parameter ``target``."""

    #: Config of the objective that learns it.
    objective: ClassVar[type[Objective]]
    #: Parameters of the estimator that have no meaning, with the only value allowed, and why.
    fixed: ClassVar[dict[str, tuple[Any, str]]] = {}

    def make_objective(self, parameters: Mapping[str, Any]) -> Objective:
        """Return the objective, after a check that no parameter would be ignored."""
        for name, (value, reason) in self.fixed.items():
            if name in parameters and not _is_equal(parameters[name], value):
                raise ValueError(
                    f"{name}={parameters[name]!r} with target={parameters['target']!r}: {reason} "
                    f"Set {name}={value!r}."
                )
        names = self.objective().get_params(deep=False)
        return self.objective(**{name: parameters[name] for name in names if name in parameters})

    def check_labels(self, y: Any) -> Any:
        """Return the labels as an array, after the checks that need no crystals."""
        raise NotImplementedError

    def stack_rows(self, y: Any) -> Any:
        """Return ``y`` in a form that the objective reads."""
        return y

    def score(self, targets: Targets, predicted: np.ndarray) -> float:
        """Return the coefficient of determination of predictions in the form of y."""
        raise NotImplementedError


def target_names(y: Any) -> list[str | int] | None:
    """Return the names of the columns of a DataFrame, None for anything else."""
    columns = getattr(y, "columns", None)
    if columns is None or not hasattr(y, "shape"):
        return None
    return [name if isinstance(name, (str, int)) else str(name) for name in columns]


def _is_equal(value: Any, expected: Any) -> bool:
    value = value.item() if isinstance(value, np.generic) else value  # of the grid of a search
    return bool(type(value) in (int, float, str, type(None)) and value == expected)


NO_UNCERTAINTY = "uncertainties are available only for target='crystal'."
NO_REPLAY = "frames are replayed beside properties with target='crystal' alone."


class CrystalForm(PropertyForm):
    """One or several numbers for each crystal."""

    objective = PropertyTargets

    def check_labels(self, y: Any) -> np.ndarray:
        """Return ``y`` as numbers; raise ValueError if its only column has missing values."""
        if y is None:
            raise ValueError(
                "y is None: this estimator requires y to be passed, shape (n,) or (n, k)."
            )
        # The objective checks the shape, when it is clear how many crystals X has.
        values = as_floats("y", y, n_dims=None)
        missing = np.flatnonzero(np.isnan(values))
        if len(missing) and values.ndim and values.size == len(values):
            raise ValueError(
                f"y is missing (NaN) for {len(missing)} of {len(values)} crystals, the first at "
                f"{rows_text(missing, y)}: leave them out. Only y of several columns may have gaps."
            )
        return values

    def score(self, targets: Targets, predicted: np.ndarray) -> float:
        """Return the mean over properties, of the crystals with a label."""
        true, weights = targets.crystal["properties"].numpy(), targets.weights
        predicted = predicted.reshape(len(true), -1)
        if true.shape != predicted.shape:
            raise ValueError(
                f"y has {true.shape[1]} columns; this estimator was fitted on {predicted.shape[1]}."
            )
        scores = []
        for column in range(true.shape[1]):
            labelled = np.isfinite(true[:, column])
            pair = true[labelled, column], predicted[labelled, column]
            scores.append(r2_score(*pair, sample_weight=weights[labelled]))
        return float(np.mean(scores))


class AtomForm(PropertyForm):
    """One number for each atom."""

    objective = AtomTargets
    fixed: ClassVar[dict[str, tuple[Any, str]]] = {
        "pooling": ("mean", "values of atoms are not pooled."),
        "readout": ("late", "values of atoms are not pooled."),
        "calibration_fraction": (0, NO_UNCERTAINTY),
        "replay": (None, NO_REPLAY),
    }

    def check_labels(self, y: Any) -> Any:
        """Return ``y`` as an object array of n arrays; a Series is returned as it is."""
        if hasattr(y, "iloc"):
            return y
        return object_rows(atom_rows("y", y))

    def score(self, targets: Targets, predicted: np.ndarray) -> float:
        """Return the coefficient over all atoms with a label."""
        true = targets.atom["atom_values"].numpy()
        weights = np.repeat(targets.weights, targets.n_atoms)
        labelled = np.isfinite(true)
        values = np.concatenate(list(predicted))[labelled]
        return float(r2_score(true[labelled], values, sample_weight=weights[labelled]))


class TensorForm(PropertyForm):
    """A vector or a symmetric tensor of each crystal."""

    objective = TensorTargets
    fixed: ClassVar[dict[str, tuple[Any, str]]] = {
        "readout": ("late", "a head on atoms and edges predicts it."),
        "bounds": (None, "its components depend on the axes."),
        "calibration_fraction": (0, NO_UNCERTAINTY),
        "replay": (None, NO_REPLAY),
    }

    def check_labels(self, y: Any) -> np.ndarray:
        """Return ``y`` as numbers; raise ValueError if a tensor is missing."""
        if y is None:
            raise ValueError("y is None: this estimator requires y to be passed.")
        values = as_floats("y", self.stack_rows(y), n_dims=None)
        missing = np.isnan(values).reshape(len(values), -1).all(axis=1) if values.size else []
        if np.any(missing):
            rows = np.flatnonzero(missing)
            raise ValueError(
                f"y is missing (NaN) for {len(rows)} of {len(values)} crystals, the first at "
                f"{rows_text(rows, y)}: leave them out."
            )
        return values

    def stack_rows(self, y: Any) -> Any:
        """Return ``y`` as a list where its rows, of a Series or object array, are arrays."""
        is_column = str(getattr(y, "dtype", "")) == "object" and np.ndim(y) == 1
        return list(y) if is_column else y

    def score(self, targets: Targets, predicted: np.ndarray) -> float:
        """Return the coefficient in the Frobenius norm, against the mean isotropic tensor.

        That is the best constant that does not depend on the axes; of vectors it is zero.
        """
        form = tensor_form(targets)
        true, weights = targets.crystal["tensors"].numpy(), targets.weights
        if predicted.shape[1:] != form.shape:
            raise ValueError(
                f"y holds tensors of shape {form.shape}; this estimator was fitted on "
                f"{predicted.shape[1:]}."
            )
        labelled = np.isfinite(true).all(axis=1)
        true, weights = true[labelled], weights[labelled, None]
        errors = form.to_coordinates(predicted[labelled]) - true
        isotropic = np.average(true @ form.isotropic.T, axis=0, weights=weights[:, 0])
        deviations = true - isotropic @ form.isotropic
        unexplained = (weights * errors**2).sum()
        total = (weights * deviations**2).sum()
        if total == 0:  # as r2_score has it
            return 1.0 if unexplained == 0 else 0.0
        return float(1.0 - unexplained / total)


FORMS = {"crystal": CrystalForm(), "atom": AtomForm(), "vector": TensorForm()}
FORMS["tensor"] = FORMS["vector"]


def form_of_target(target: Any) -> PropertyForm:
    """Return the form that the parameter ``target`` names.

    Parameters
    ----------
    target : {"crystal", "atom", "vector", "tensor"}
        Value of the parameter.

    Returns
    -------
    PropertyForm
        The form.
    """
    check_choice("target", target, TARGETS)
    return FORMS[target]


def form_of_objective(objective: Objective) -> PropertyForm:
    """Return the form that a fitted objective learnt, whatever the parameter is by now.

    Parameters
    ----------
    objective : Objective
        Config of the objective.

    Returns
    -------
    PropertyForm
        The form.
    """
    return next(form for form in FORMS.values() if isinstance(objective, form.objective))
