"""A pre-trained force field as a function of crystals."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gnnpre._devices import resolve_device
from gnnpre._validation import check_choice, check_number
from gnnpre._warnings import UnseenElementWarning, warn_user
from gnnpre.estimators import Pretrainer
from gnnpre.graphs import LARGEST_CUTOFF, Crystals
from gnnpre.objectives import ForceField, Mixture
from gnnpre.training import ordinary_mode

from ._skin import SkinGraphs

__all__ = ["ForceFieldFunction"]

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class ForceFieldFunction:
    """Energies, forces and stress of crystals by a fitted force field.

    Parameters
    ----------
    model : str, Path or Pretrainer
        The name ``"gnnpre-1-forces"``, or a file of, or the fitted, :class:`gnnpre.Pretrainer`
        whose objective is a :class:`gnnpre.ForceField`, or a :class:`gnnpre.Mixture` with one.
    skin : float
        Additional reach of the neighbour list in Å.
    dtype : {"float32", "float64"}
        Precision of the network.
    device : str
        Where it runs.
    """

    def __init__(self, model: Any, skin: float, dtype: str, device: str) -> None:
        check_number("skin", skin, high=LARGEST_CUTOFF, low_included=True)
        check_choice("dtype", dtype, tuple(DTYPES))
        pretrainer = _as_pretrainer(model)
        self._device = resolve_device(device)
        self._dtype = DTYPES[dtype]
        with ordinary_mode(self._device):
            module = _force_field_module(pretrainer)
            self._module = module.to(device=self._device, dtype=self._dtype).eval()
        self._graphs = SkinGraphs(pretrainer.graph_settings_, skin)
        self._elements = set(pretrainer.elements_)

    @property
    def n_searches(self) -> int:
        """Number of neighbour searches so far."""
        return self._graphs.n_searches

    def __call__(self, crystals: Crystals) -> dict[str, np.ndarray]:
        """Compute energies and their derivatives.

        Parameters
        ----------
        crystals : Crystals
            The n crystals, with N atoms.

        Returns
        -------
        dict of str to ndarray
            ``energy`` (n,) in eV per cell, ``forces`` (N, 3) in eV/Å and ``stress`` (n, 3, 3) in
            eV/Å^3, positive in tension, NaN for crystals that are not periodic everywhere.
        """
        with ordinary_mode(self._device):
            batch = self._graphs.batch(crystals, self._dtype).to(self._device)
            predictions = self._module.predict(batch)
        return {name: value.cpu().double().numpy() for name, value in predictions.items()}

    def atom_energies(self, crystals: Crystals) -> np.ndarray:
        """Compute the share of each atom in the energy, ``(N,)`` in eV."""
        with ordinary_mode(self._device):
            batch = self._graphs.batch(crystals, self._dtype).to(self._device)
            energies: np.ndarray = self._module.predict_atom_energies(batch).cpu().numpy()
        return energies

    def warn_of_unseen_elements(self, crystals: Crystals) -> None:
        """Warn, once for each element, of those that the force field was not trained on."""
        unseen = sorted(set(np.unique(crystals.atomic_numbers).tolist()) - self._elements)
        if unseen:
            from ase.data import chemical_symbols

            self._elements.update(unseen)
            names = ", ".join(chemical_symbols[number] for number in unseen)
            warn_user(
                f"The force field has never seen {names}: its energies and forces in crystals "
                "with these elements mean nothing.",
                UnseenElementWarning,
            )


def _as_pretrainer(model: Any) -> Pretrainer:
    if isinstance(model, (str, Path)):
        model = Pretrainer.load(model)
    if not isinstance(model, Pretrainer):
        raise TypeError(
            f"model is of type {type(model).__name__}; expected a file, or a fitted Pretrainer "
            "with the objective ForceField. Models of properties have no forces."
        )
    check_is_fitted(model, "net_")
    return model


def _force_field_module(pretrainer: Pretrainer) -> Any:
    """Return a copy of the network that predicts forces, or of that part of a mixture."""
    module, objective = pretrainer.net_.module_, pretrainer.spec_.objective
    if isinstance(objective, ForceField):
        return deepcopy(module)
    if isinstance(objective, Mixture):
        for name, member, _ in objective.parts:
            if isinstance(member, ForceField):
                force_field = deepcopy(module.parts[name])
                # Within a mixture the backbone is shared, and none of the submodules.
                force_field.__dict__.pop("backbone")
                force_field.backbone = deepcopy(module.backbone)
                return force_field
    raise ValueError(
        f"model was pre-trained with the objective {type(objective).__name__}, which has no "
        "forces; expected ForceField, or a Mixture with a ForceField."
    )
