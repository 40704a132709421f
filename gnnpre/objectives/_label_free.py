"""Objectives that learn from crystals alone."""

from typing import Any, ClassVar

from gnnpre.graphs import CrystalGraphs

from ._base import Objective
from ._targets import Targets

__all__ = ["LabelFreeObjective"]


class LabelFreeObjective(Objective):
    """Base class of objectives that need no labels: ``fit(X)`` is enough, and y is ignored.

    Their targets are drawn batch by batch, in the ``perturb`` of their model, unless
    :meth:`make_targets` is overridden.
    """

    needs_labels: ClassVar[bool] = False

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        """Check the parameters, and return the targets of the crystals.

        Parameters
        ----------
        graphs : CrystalGraphs
            The n crystals.
        y : object
            Ignored.

        Returns
        -------
        Targets
            Empty where the model draws its targets batch by batch; else a row for each crystal or
            each atom.

        Raises
        ------
        ValueError, TypeError
            If a parameter has no allowed value.
        """
        self.check_parameters()
        return Targets(graphs.atom_counts, {})
