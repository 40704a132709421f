"""Several objectives on one backbone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import _BaseComposition
from torch import nn

from gnnpre._prefixes import select_prefix
from gnnpre._validation import check_number
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalGraphs, FrameLabels, LazyLabels

from ._base import Objective
from ._lazy_targets import join_targets, select_targets
from ._mixture_model import MixtureModel
from ._property_targets import PropertyTargets
from ._targets import Targets

__all__ = ["Mixture"]


class Mixture(_BaseComposition, Objective):
    """Learn several objectives at once, by the weighted sum of their losses.

    The objectives share one backbone, and each has a head. One pass through the backbone serves
    all objectives that see the same crystals: all without perturbation, and all with the same
    one. ``predict`` returns a dict, from the name of each objective to its predictions.

    Objectives and their weights are parameters by name, as in scikit-learn's compositions:
    ``forces`` (the objective), ``forces__stress`` (a parameter of it), ``forces_weight``.

    Parameters
    ----------
    parts : list of (str, Objective, float)
        Name, objective and positive weight of each objective. Losses are named after it, as in
        ``"forces.energy"``; the weight multiplies the weights of the objective itself.

    Notes
    -----
    All objectives that learn from labels get the same y. If it is ``FrameLabels``, an objective
    ``PropertyTargets`` gets the column of ``info`` with its name. A crystal whose labels are
    missing (NaN) for one objective still counts for the rest.

    ``transfer="matching"`` of an estimator that starts from a mixture takes the readout of the
    first objective that has one.

    Examples
    --------
    >>> from gnnpre import Denoising, ForceField, Mixture
    >>> mixture = Mixture([("forces", ForceField(), 1.0), ("noise", Denoising(0.05), 0.1)])
    >>> mixture.set_params(forces__stress=20, noise_weight=0.5)
    Mixture(parts=[('forces', ForceField(stress=20), 1.0),
                   ('noise', Denoising(noise=0.05), 0.5)])
    """

    def __init__(self, parts: Sequence[tuple[str, Objective, float]]) -> None:
        self.parts = parts

    @property
    def _parts(self) -> list[tuple[str, Objective]]:
        """Pairs of name and objective, the form that scikit-learn's compositions expect."""
        try:
            return [(name, objective) for name, objective, _ in self.parts]
        except (TypeError, ValueError):  # check_parameters explains it
            return []

    @_parts.setter
    def _parts(self, pairs: list[tuple[str, Objective]]) -> None:
        weights = [weight for _, _, weight in self.parts]
        self.parts = [(*pair, weight) for pair, weight in zip(pairs, weights, strict=True)]

    @property
    def needs_labels(self) -> bool:  # type: ignore[override]
        """Whether an objective needs a y."""
        return any(getattr(objective, "needs_labels", False) for _, objective in self._parts)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool
            Whether to include the objectives by name, their parameters and their weights.

        Returns
        -------
        dict
            From name to value.
        """
        params: dict[str, Any] = self._get_params("_parts", deep=deep)
        if deep and self._parts:
            params |= {_weight_name(name): weight for name, _, weight in self.parts}
        return params

    def set_params(self, **params: Any) -> "Mixture":
        """Set parameters.

        Parameters
        ----------
        **params : dict
            From name to value; see :meth:`get_params`.

        Returns
        -------
        Mixture
            This mixture.
        """
        if "parts" in params:
            self.parts = params.pop("parts")
        weights = {name: params.pop(key) for name, key in self._weights() if key in params}
        if weights:
            self.parts = [
                (name, objective, weights.get(name, weight))
                for name, objective, weight in self.parts
            ]
        self._set_params("_parts", **params)
        return self

    def _weights(self) -> list[tuple[str, str]]:
        return [(name, _weight_name(name)) for name, _ in self._parts]

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        self.check_parameters()
        for name, objective, _ in self.parts:
            with _named_errors(name):
                objective.check_graphs(graphs)

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Return the targets of all objectives, prefixed by their names.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : object
            The labels, which all objectives that need some get.

        Returns
        -------
        Targets
            Such as ``"forces.energy"``.

        Raises
        ------
        ValueError, TypeError
            If the objectives, their parameters or the labels are not as expected.
        """
        named: dict[str, Targets] = {}
        self.check_parameters()
        for name, objective, _ in self.parts:
            with _named_errors(name):
                targets = objective.make_targets(graphs, _labels_of(name, objective, y))
            named[name] = targets
        return join_targets(graphs.atom_counts, named)

    def layout(self, targets: Targets) -> dict[str, Any]:
        return {
            name: objective.layout(select_targets(name, targets))
            for name, objective, _ in self.parts
        }

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "MixtureModel":
        models, weights = {}, {}
        self.check_parameters()
        for name, objective, weight in self.parts:
            with _named_errors(name):
                models[name] = objective.build(backbone, layout.get(name, {}))
            weights[name] = float(weight)
        return MixtureModel(backbone, models, weights)

    def collect(
        self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray
    ) -> dict[str, Any]:
        return {
            name: objective.collect([select_prefix(name, batch) for batch in batches], n_atoms)
            for name, objective, _ in self.parts
        }

    def term_units(self) -> dict[str, str]:
        return {
            f"{name}.{term}": unit
            for name, objective, _ in self.parts
            for term, unit in objective.term_units().items()
        }

    def search_space(self) -> dict[str, Any]:
        from optuna.distributions import FloatDistribution

        weight = FloatDistribution(0.01, 10.0, log=True)
        return {_weight_name(name): weight for name, _, _ in self.parts[1:]}

    def check_parameters(self) -> None:
        """Check the objectives, their names, weights and parameters.

        Raises
        ------
        ValueError, TypeError
            If one is not as expected; the message names it.
        """
        if not isinstance(self.parts, (list, tuple)) or not len(self.parts):
            raise ValueError(
                f"parts={self.parts!r}; expected a list of (name, objective, weight) such as "
                "[('forces', ForceField(), 1.0)], with at least one."
            )
        for index, entry in enumerate(self.parts):
            _check_entry(index, entry)
        self._check_names()
        for name, objective, _ in self.parts:
            with _named_errors(name):
                objective.check_parameters()

    def _check_names(self) -> None:
        names = [name for name, _ in self._parts]
        # scikit-learn's check: unique, no "__", no name of a parameter.
        self._validate_names(names)
        clash = {key for _, key in self._weights()} & set(names)
        if clash:
            raise ValueError(
                f"The objective {min(clash)!r} has the name of the weight of another: rename it."
            )


def _weight_name(name: str) -> str:
    return f"{name}_weight"


def _check_entry(index: int, entry: Any) -> None:
    """Check one entry of ``parts``."""
    if not isinstance(entry, (list, tuple)) or len(entry) != 3:
        raise ValueError(f"parts[{index}] is {entry!r}; expected (name, objective, weight).")
    name, objective, weight = entry
    # torch keeps modules by name, among its own attributes.
    if not isinstance(name, str) or not name.isidentifier() or hasattr(nn.ModuleDict, name):
        raise ValueError(
            f"parts[{index}] has the name {name!r}; expected a word of letters, digits and _ that "
            "is not a method of torch's modules, such as 'forces'."
        )
    if not isinstance(objective, Objective) or isinstance(objective, Mixture):
        raise TypeError(
            f"Part {name!r} of the mixture is {objective!r}; expected an objective such as "
            "ForceField(), and no further Mixture: list the objectives of that one here."
        )
    check_number(_weight_name(name), weight)


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Add the name of an objective to errors."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error_type = TypeError if isinstance(error, TypeError) else ValueError
        raise error_type(f"Part {name!r} of the mixture: {error}") from error


def _labels_of(name: str, objective: Objective, y: Any) -> Any:
    """Return the labels of one objective."""
    if not isinstance(objective, PropertyTargets) or not isinstance(y, (FrameLabels, LazyLabels)):
        return y
    if name not in y.info:
        raise ValueError(
            f"y is FrameLabels, whose info has no column {name!r} to learn as a property; it has "
            f"{sorted(y.info)}. Name the objective after a column."
        )
    return y.info[name]
