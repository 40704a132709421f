"""Targets: the labels of crystals as the tensors that training gathers batches from."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre.graphs import BlockRows, flat_indices, offsets_from_counts, send, share_memory

__all__ = ["Targets"]


class Targets:
    """Labels of n crystals: named tensors with one row for each crystal, or for each atom.

    Parameters
    ----------
    n_atoms : ndarray of shape (n,)
        Atoms of each crystal.
    crystal : mapping of str to Tensor of shape (n, ...)
        Labels of crystals, in float64 where they are numbers.
    atom : mapping of str to Tensor of shape (N, ...), optional
        Labels of atoms.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from gnnpre.objectives import Targets
    >>> targets = Targets(np.array([1, 2]), {"energy": torch.tensor([1.0, 2.0])})
    >>> targets.batch(np.array([1]), torch.float32)
    {'energy': tensor([2.])}
    """

    def __init__(
        self,
        n_atoms: np.ndarray,
        crystal: Mapping[str, Tensor],
        atom: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.n_atoms = n_atoms
        self.crystal = dict(crystal)
        self.atom = dict(atom or {})
        self._rows_on: BlockRows | None = None

    @cached_property
    def _offsets(self) -> np.ndarray:
        """First atom of each crystal, ``(n + 1,)``: only labels of atoms in memory need it."""
        return offsets_from_counts(self.n_atoms)

    def __len__(self) -> int:
        return len(self.n_atoms)

    def __getstate__(self) -> dict[str, Any]:
        # NumPy arrays, so that joblib memory-maps them for other processes.
        crystal, atom = (
            {name: values.cpu().numpy() for name, values in tensors.items()}
            for tensors in (self.crystal, self.atom)
        )
        return {"n_atoms": self.n_atoms, "crystal": crystal, "atom": atom}

    def __setstate__(self, state: dict[str, Any]) -> None:
        crystal, atom = (
            {name: share_memory(values) for name, values in state[key].items()}
            for key in ("crystal", "atom")
        )
        Targets.__init__(self, state["n_atoms"], crystal, atom)

    def batch(self, indices: np.ndarray, dtype: torch.dtype) -> dict[str, Tensor]:
        """Gather the targets of some crystals.

        Parameters
        ----------
        indices : ndarray of shape (m,)
            Rows of the crystals.
        dtype : torch.dtype
            Precision to convert to.

        Returns
        -------
        dict of str to Tensor
            The rows of these crystals, or of their atoms.
        """
        batch: dict[str, Tensor] = {}
        for tensors, rows in ((self.crystal, self._crystal_rows), (self.atom, self._atom_rows)):
            if tensors:
                picker = rows(indices, next(iter(tensors.values())).device)
                batch |= {name: values[picker].to(dtype) for name, values in tensors.items()}
        return batch

    def _crystal_rows(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return send(torch.from_numpy(indices), device)

    def _atom_rows(self, indices: np.ndarray, device: torch.device) -> Tensor:
        """Return the atoms of some crystals; a GPU finds them itself."""
        if self._rows_on is None or self._rows_on.device != device:
            self._rows_on = BlockRows(self.n_atoms, device)
        rows: Tensor = self._rows_on.picker(indices)
        return rows

    @property
    def weights(self) -> np.ndarray:
        """Weights of the crystals, ``(n,)``; ones by default."""
        if "sample_weight" in self.crystal:
            weights: np.ndarray = self.crystal["sample_weight"].cpu().numpy()
            return weights
        return np.ones(len(self))

    def load(self, rows: np.ndarray) -> "Targets":
        """Return the targets of some crystals, in this order.

        Parameters
        ----------
        rows : ndarray of shape (m,)
            Rows of the crystals.

        Returns
        -------
        Targets
            The targets of these crystals, in memory.
        """
        crystals = torch.from_numpy(rows)
        crystal = {name: v[crystals.to(v.device)] for name, v in self.crystal.items()}
        atoms = torch.from_numpy(flat_indices(self._offsets, rows)) if self.atom else crystals
        atom = {name: v[atoms.to(v.device)] for name, v in self.atom.items()}
        return Targets(self.n_atoms[rows], crystal, atom)

    def with_crystal(self, name: str, values: Tensor) -> "Targets":
        """Return targets with another one of crystals.

        Parameters
        ----------
        name : str
            Its name.
        values : Tensor of shape (n, ...)
            Its values.

        Returns
        -------
        Targets
            These targets and the new one.
        """
        return Targets(self.n_atoms, {**self.crystal, name: values}, self.atom)

    def to(self, device: torch.device | str) -> "Targets":
        """Copy the targets to a device.

        Parameters
        ----------
        device : torch.device or str
            The device.

        Returns
        -------
        Targets
            The copy.
        """
        crystal = {name: values.to(device) for name, values in self.crystal.items()}
        atom = {name: values.to(device) for name, values in self.atom.items()}
        return Targets(self.n_atoms, crystal, atom)
