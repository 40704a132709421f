"""Structures some of whose atoms are to stay where they are."""

from typing import Any

import numpy as np

from gnnpre._labels import rows_text
from gnnpre._warnings import DataQualityWarning, warn_user
from gnnpre.graphs import CrystalGraphs, Crystals, LazyCrystals, LazyGraphs, as_structure_list

__all__ = ["warn_of_constraints"]


def warn_of_constraints(structures: Any) -> None:
    """Warn of ASE's constraints and of selective dynamics, which a relaxation passes over.

    Parameters
    ----------
    structures : container of n structures, or Crystals
        The structures; ``Crystals`` hold no constraints.
    """
    if isinstance(structures, (Crystals, CrystalGraphs, LazyCrystals, LazyGraphs)):
        return
    rows = np.flatnonzero([_is_constrained(item) for item in as_structure_list(structures)])
    if len(rows):
        warn_user(
            f"{len(rows)} structures hold atoms fixed, {rows_text(rows, structures)}: all atoms "
            "move here. Relax these with ASE's optimizers and ForceFieldCalculator, or remove the "
            "constraints (atoms.set_constraint()).",
            DataQualityWarning,
        )


def _is_constrained(structure: Any) -> bool:
    if getattr(structure, "constraints", None):  # of ASE
        return True
    flags = getattr(structure, "site_properties", {}).get("selective_dynamics")
    return flags is not None and not all(np.all(flag) for flag in flags if flag is not None)
