"""The base class of objectives: from labels to targets, a model, and predictions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator

from gnnpre._constraints import HasConstraints
from gnnpre._registry import Registered
from gnnpre.backbones import BackboneModule
from gnnpre.graphs import CrystalGraphs

from ._model import ObjectiveModel
from ._targets import Targets

__all__ = ["Objective"]


class Objective(Registered, HasConstraints, BaseEstimator, ABC):
    """Base class of pre-training objectives: configs with visible parameters.

    A subclass only assigns its parameters in ``__init__`` and declares their allowed values in
    ``_constraints``. It turns labels into :class:`Targets`, builds its :class:`ObjectiveModel`, and
    returns predictions in the form of the user's labels.

    Examples
    --------
    >>> from gnnpre import ForceField
    >>> ForceField(forces=500).get_params()["forces"]
    500
    """

    #: Whether ``fit`` needs a y.
    needs_labels: ClassVar[bool] = True

    def check_graphs(self, graphs: CrystalGraphs) -> None:
        """Check that this objective can be learnt from some graphs; warn where it hardly can.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        """

    @abstractmethod
    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check labels and convert them to tensors.

        Parameters
        ----------
        graphs : CrystalGraphs
            The crystals.
        y : object
            The user's labels.

        Returns
        -------
        Targets
            One row for each crystal, or for each atom.

        Raises
        ------
        ValueError, TypeError
            If the labels do not fit the crystals.
        """

    def layout(self, targets: Targets) -> dict[str, Any]:
        """Return the inputs of :meth:`build` besides the parameters, as JSON-serializable values.

        Parameters
        ----------
        targets : Targets
            The result of :meth:`make_targets`.

        Returns
        -------
        dict
            Such as the number of outputs.
        """
        return {}

    @abstractmethod
    def build(self, backbone: BackboneModule, layout: dict[str, Any]) -> ObjectiveModel:
        """Build the model: a backbone with the head of this objective.

        Parameters
        ----------
        backbone : BackboneModule
            The module that a backbone config built.
        layout : dict
            The result of :meth:`layout`.

        Returns
        -------
        ObjectiveModel
            The model to train.
        """

    @abstractmethod
    def collect(self, batches: Sequence[dict[str, np.ndarray]], n_atoms: np.ndarray) -> Any:
        """Join the predictions of batches into the form of the labels.

        Parameters
        ----------
        batches : sequence of dict of str to ndarray
            Predictions of each batch, in the order of the crystals.
        n_atoms : ndarray of shape (n,)
            Atoms of each crystal.

        Returns
        -------
        object
            The return value of ``predict``.
        """

    def term_units(self) -> dict[str, str]:
        """Return the units of the terms of the loss, as far as they have one.

        Returns
        -------
        dict of str to str
            From the name of a term to its unit, such as ``{"forces": "eV/Å"}``.
        """
        return {}

    def search_space(self) -> dict[str, Any]:
        """Return the ranges of the parameters that are worth a search; none by default.

        Returns
        -------
        dict
            From parameter name to an Optuna distribution.
        """
        return {}

    def saved_config(self) -> "Objective":
        """Return the objective as a file stores it: this one by default.

        Returns
        -------
        Objective
            A config that predicts the same, of parameters that can be written as JSON.
        """
        return self
