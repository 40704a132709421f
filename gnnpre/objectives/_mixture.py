"""Several objectives on one backbone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.utils.metaestimators import _BaseComposition
from torch import Tensor, nn

from gnnpre._validation import check_number
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalGraphs, FrameLabels

from ._base import Objective, Targets
from ._mixture_model import MixtureModel, own_values, prefixed, targets_of
from ._property_targets import PropertyTargets

__all__ = ["Mixture"]


class Mixture(_BaseComposition, Objective):
    """Learn several objectives at once, by the weighted sum of their losses.

    The parts share one backbone, and each has its own head. One pass through the backbone serves
    all parts that see the same crystals: all that perturb nothing, and all whose perturbation is
    the same. ``predict`` gives a dict, from the name of each part to what that part predicts.

    Parts and their weights are parameters by name, as in scikit-learn's compositions: ``forces``
    (the part), ``forces__stress`` (a parameter of it), ``forces_weight``.

    Parameters
    ----------
    parts : list of (str, Objective, float)
        Name, objective and weight (positive) of each part. The losses of a part have its name in
        front, as in ``"forces.energy"``; the weight is on top of the objective's own.

    Notes
    -----
    There is one y, and each part that learns from labels gets it. If it is ``FrameLabels``, a
    part that is ``PropertyTargets`` gets the column of ``info`` that has the name of the part.
    Labels that are missing (NaN) for one part leave the crystal to the others.

    ``transfer="matching"`` of an estimator that starts from a mixture takes the readout of the
    first part that has one.

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
        """Pairs of name and part, which is what scikit-learn's compositions are made of."""
        try:
            return [(name, part) for name, part, _ in self.parts]
        except (TypeError, ValueError):  # fit says what is wrong
            return []

    @_parts.setter
    def _parts(self, pairs: list[tuple[str, Objective]]) -> None:
        weights = [weight for _, _, weight in self.parts]
        self.parts = [(*pair, weight) for pair, weight in zip(pairs, weights, strict=True)]

    @property
    def needs_labels(self) -> bool:  # type: ignore[override]
        """Whether a part needs a y."""
        return any(getattr(part, "needs_labels", False) for _, part in self._parts)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the parameters.

        Parameters
        ----------
        deep : bool
            Whether to give the parts by name, their parameters and their weights too.

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
                (name, part, weights.get(name, weight)) for name, part, weight in self.parts
            ]
        self._set_params("_parts", **params)
        return self

    def _weights(self) -> list[tuple[str, str]]:
        return [(name, _weight_name(name)) for name, _ in self._parts]

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        """Let every part refuse graphs, or warn of them.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        """
        for name, part, _ in self._checked():
            with _about(name):
                part.check_graphs(graphs)

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Make the targets of all parts, their names in front.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : object
            The labels, which each part that needs some gets.

        Returns
        -------
        Targets
            Such as ``"forces.energy"``.

        Raises
        ------
        ValueError, TypeError
            If the parts are not as expected, or a part refuses its parameters or labels.
        """
        crystal: dict[str, Tensor] = {}
        atom: dict[str, Tensor] = {}
        for name, part, _ in self._checked():
            with _about(name):
                targets = part.make_targets(graphs, _labels_of(name, part, y))
            crystal |= prefixed(name, targets.crystal)
            atom |= prefixed(name, targets.atom)
        return Targets(graphs.atom_counts, crystal, atom)

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Give the layout of each part.

        Parameters
        ----------
        targets : Targets
            What :meth:`make_targets` returned.

        Returns
        -------
        dict
            From the name of a part to its layout.
        """
        return {name: part.layout(targets_of(name, targets)) for name, part, _ in self.parts}

    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> "MixtureModel":
        """Put the heads of all parts on a backbone.

        Parameters
        ----------
        backbone : BackboneModule
            What a backbone config built.
        layout : dict
            What :meth:`layout` returned.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """
        models, weights = {}, {}
        for name, part, weight in self._checked():
            with _about(name):
                models[name] = part.build(backbone, layout.get(name, {}))
            weights[name] = float(weight)
        return MixtureModel(backbone, models, weights)

    def collect(
        self, parts: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray
    ) -> dict[str, Any]:
        """Join the predictions of each part.

        Parameters
        ----------
        parts : sequence of dict of str to ndarray
            Predictions batch by batch.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        dict
            From the name of a part to what it predicts.
        """
        return {
            name: part.collect([own_values(name, batch) for batch in parts], n_atoms)
            for name, part, _ in self.parts
        }

    def _checked(self) -> Sequence[tuple[str, Objective, float]]:
        """Give the parts, refused where they are no parts."""
        if not isinstance(self.parts, (list, tuple)) or not len(self.parts):
            raise ValueError(
                f"parts={self.parts!r}; expected a list of (name, objective, weight) such as "
                "[('forces', ForceField(), 1.0)], with at least one."
            )
        for index, part in enumerate(self.parts):
            _check_part(index, part)
        self._check_names()
        return self.parts

    def _check_names(self) -> None:
        names = [name for name, _ in self._parts]
        self._validate_names(names)
        clash = {key for _, key in self._weights()} & set(names)
        if clash:
            raise ValueError(
                f"The part {min(clash)!r} has the name of another part's weight: rename it."
            )


def _weight_name(name: str) -> str:
    return f"{name}_weight"


def _check_part(index: int, part: Any) -> None:
    if not isinstance(part, (list, tuple)) or len(part) != 3:
        raise ValueError(f"parts[{index}] is {part!r}; expected (name, objective, weight).")
    name, objective, weight = part
    # torch keeps modules by name, among its own attributes.
    if not isinstance(name, str) or not name.isidentifier() or hasattr(nn.ModuleDict, name):
        raise ValueError(
            f"parts[{index}] has the name {name!r}; expected a word of letters, digits and _ that "
            "is no method of torch's modules, such as 'forces'."
        )
    if not isinstance(objective, Objective) or isinstance(objective, Mixture):
        raise TypeError(
            f"Part {name!r} of the mixture is {objective!r}; expected an objective such as "
            "ForceField(), and no further Mixture: put the parts of that one into this list."
        )
    check_number(_weight_name(name), weight)


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Name the part in errors."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"Part {name!r} of the mixture: {error}") from error


def _labels_of(name: str, part: Objective, y: Any) -> Any:
    """Labels for one part."""
    if not isinstance(part, PropertyTargets) or not isinstance(y, FrameLabels):
        return y
    if name not in y.info:
        raise ValueError(
            f"y is FrameLabels, whose info has no column {name!r} to learn as a property; it has "
            f"{sorted(y.info)}. Give the part the name of a column."
        )
    return y.info[name]
