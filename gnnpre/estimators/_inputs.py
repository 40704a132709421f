"""What estimators take: graphs or structures as X, weights of samples."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from gnnpre._labels import as_floats, rows_text
from gnnpre._warnings import UnseenElementWarning, warn_user
from gnnpre.graphs import CrystalGraphs, GraphSettings, StructureToGraph
from gnnpre.objectives import Targets

__all__ = [
    "add_sample_weight",
    "as_graphs",
    "check_elements",
    "elements_of",
    "warn_unseen_elements",
]


def as_graphs(X: Any, settings: GraphSettings | None) -> CrystalGraphs:
    """Give ``X`` as graphs, built with ``settings`` where there are some."""
    if not isinstance(X, CrystalGraphs):
        parameters = {} if settings is None else settings.to_dict()
        return StructureToGraph(**parameters).fit_transform(X)
    if len(X) == 0:
        raise ValueError("X has 0 crystals; a minimum of 1 is required.")
    difference = "" if settings is None else X.settings.difference(settings)
    if difference:
        raise ValueError(
            f"X was built with other settings than the model was trained on: {difference}. Build "
            f"it with StructureToGraph({_arguments(settings)}), or pass structures."
        )
    return X


def _arguments(settings: GraphSettings | None) -> str:
    default, values = GraphSettings(cutoff=0.0).to_dict(), settings.to_dict() if settings else {}
    return ", ".join(f"{k}={v!r}" for k, v in values.items() if v != default[k])


def elements_of(graphs: CrystalGraphs) -> list[int]:
    """Atomic numbers that occur, ascending."""
    return [int(z) for z in torch.unique(graphs.atomic_numbers).tolist()]


def check_elements(graphs: CrystalGraphs, largest: int, first: int = 0) -> None:
    """Refuse elements that the embedding does not hold; ``first`` is what errors call 0."""
    numbers = graphs.atomic_numbers.cpu().numpy()
    rows = np.flatnonzero((numbers < 1) | (numbers > largest))
    if len(rows):
        crystal = int(np.searchsorted(np.cumsum(graphs.atom_counts), rows[0], side="right"))
        raise ValueError(
            f"Crystal {first + crystal} of X holds an element of atomic number "
            f"{numbers[rows[0]]}; the backbone knows 1 to {largest}. Leave that crystal out."
        )


def warn_unseen_elements(elements: Iterable[int], seen: list[int]) -> None:
    """Warn once of elements that the model never saw in training."""
    unseen = sorted(set(elements) - set(seen))
    if unseen:
        from ase.data import chemical_symbols

        names = ", ".join(chemical_symbols[z] for z in unseen)
        warn_user(
            f"X holds elements that the model was not trained on: {names}. Predictions for "
            "crystals with them rest on untrained weights.",
            UnseenElementWarning,
        )


def add_sample_weight(targets: Targets, sample_weight: Any) -> Targets:
    """Add weights of crystals to the targets, where there are some."""
    if sample_weight is None:
        return targets
    weights = as_floats(
        "sample_weight",
        sample_weight,
        n_rows=len(targets),
        n_dims=(1,),
        allow_bool=True,
        allow_missing=False,
    )
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        raise ValueError(
            f"sample_weight is {weights[negative[0]]:g} at {rows_text(negative, sample_weight)}; "
            "expected weights that are not negative."
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for all crystals: give some of them a weight.")
    # A mean of one, so that the scale of the weights does not change the loss.
    weights = weights / weights.mean()
    crystal = {**targets.crystal, "sample_weight": torch.from_numpy(weights)}
    return Targets(targets.n_atoms, crystal, targets.atom)
