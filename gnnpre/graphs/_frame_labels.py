"""Energies, forces and stresses of many frames, indexable as scikit-learn indexes y."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnpre._storage import load_tensors, save_tensors

from ._indexing import flat_indices, normalise_key, offsets_from_counts

__all__ = ["FrameLabels"]


class FrameLabels:
    """Labels of a force field for n frames: energy, forces, stress, and what is known of each.

    It is a ``y``: it has a length and a shape, and scikit-learn's splitters index it as they
    index an array, so ``train_test_split``, ``cross_val_score`` and ``GridSearchCV`` take it.

    Parameters
    ----------
    n_atoms : array-like of shape (n,)
        Number of atoms of each frame.
    energy : array-like of shape (n,), optional
        Total energy of the cell in eV, NaN where missing. All missing by default.
    forces : array-like of shape (sum(n_atoms), 3), or list of n arrays (n_atoms[i], 3), optional
        Forces in eV/Å, atom after atom, NaN where missing. All missing by default.
    stress : array-like of shape (n, 3, 3), optional
        Stress ``dE/dstrain / volume`` in eV/Å^3, positive in tension; NaN where missing. All
        missing by default.
    info : mapping of str to array-like of shape (n,), optional
        Columns that describe the frames, such as ``mptrj_traj_id``; see :meth:`groups`.

    Attributes
    ----------
    offsets : ndarray of shape (n + 1,)
        ``forces[offsets[i]:offsets[i + 1]]`` are those of frame i.

    Raises
    ------
    ValueError
        If a label has another length or shape than ``n_atoms`` asks for.

    Examples
    --------
    >>> from gnnpre.graphs import FrameLabels
    >>> labels = FrameLabels([1, 2], energy=[-3.5, -7.1], info={"material": ["a", "b"]})
    >>> labels.shape, labels[[1]].energy
    ((2,), array([-7.1]))
    >>> labels.groups("material")
    array(['a', 'b'], dtype=object)
    """

    def __init__(
        self,
        n_atoms: Any,
        *,
        energy: Any = None,
        forces: Any = None,
        stress: Any = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.n_atoms = _check_counts(n_atoms)
        n, total = len(self.n_atoms), int(self.n_atoms.sum())
        self.offsets = offsets_from_counts(self.n_atoms)
        self.energy = _check_label("energy", energy, (n,), "eV per cell, one a frame")
        self.forces = _check_label(
            "forces", _stack_forces(forces, self.n_atoms), (total, 3), "eV/Å, one row an atom"
        )
        self.stress = _check_label("stress", stress, (n, 3, 3), "eV/Å^3, one 3x3 matrix a frame")
        self.info = {key: _check_column(key, value, n) for key, value in (info or {}).items()}

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def shape(self) -> tuple[int]:
        """Shape ``(n,)``: what scikit-learn asks of a y."""
        return (len(self),)

    def __repr__(self) -> str:
        parts = [
            f"{np.isfinite(values).reshape(len(values), -1).all(axis=1).sum()} {unit}"
            for values, unit in (
                (self.energy, "energies"),
                (self.forces, "forces"),
                (self.stress, "stresses"),
            )
        ]
        return f"FrameLabels(n={len(self)}, {', '.join(parts)}, info={sorted(self.info)})"

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "FrameLabels holds forces of ragged shape and is no array; take .energy, .forces or "
            ".stress, and keep the object itself as y."
        )

    def __getitem__(self, key: Any) -> "FrameLabels":
        if isinstance(key, (int, np.integer)):
            key = [key]
        indices = normalise_key(key, len(self), "FrameLabels")
        return FrameLabels(
            self.n_atoms[indices],
            energy=self.energy[indices],
            forces=self.forces[flat_indices(self.offsets, indices)],
            stress=self.stress[indices],
            info={name: column[indices] for name, column in self.info.items()},
        )

    def groups(self, key: str) -> np.ndarray:
        """Give one column of ``info``, for splitters that keep groups together.

        Parameters
        ----------
        key : str
            Name of the column, such as ``"mptrj_traj_id"`` or ``"formula"``.

        Returns
        -------
        ndarray of shape (n,)
            The column.

        Raises
        ------
        KeyError
            If there is no such column; the message names those there are.

        Examples
        --------
        >>> from gnnpre.graphs import FrameLabels
        >>> FrameLabels([1, 1], info={"run": [7, 8]}).groups("run")
        array([7, 8])
        """
        if key not in self.info:
            raise KeyError(f"No info column {key!r}; there are {sorted(self.info)}.")
        return self.info[key]

    def save(self, path: str | Path) -> None:
        """Write the labels to one safetensors file.

        Parameters
        ----------
        path : str or Path
            The file to write.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from gnnpre.graphs import FrameLabels
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels.safetensors"
        >>> FrameLabels([1, 2], energy=[-1.0, -2.0]).save(path)
        >>> FrameLabels.load(path).energy
        array([-1., -2.])
        """
        names = ("n_atoms", "energy", "forces", "stress")
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in names}
        info = {name: column.tolist() for name, column in self.info.items()}
        save_tensors(path, tensors, kind="FrameLabels", metadata={"info": info})

    @classmethod
    def load(cls, path: str | Path) -> "FrameLabels":
        """Read labels that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
            The file to read.

        Returns
        -------
        FrameLabels
            The labels.

        Raises
        ------
        ValueError
            If the file is truncated or holds something else.
        """
        tensors, metadata = load_tensors(path, kind="FrameLabels")
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return cls(**arrays, info=metadata["info"])

    @classmethod
    def concatenate(cls, parts: Sequence["FrameLabels"]) -> "FrameLabels":
        """Join several sets of labels; only info columns that all of them have are kept.

        Parameters
        ----------
        parts : sequence of FrameLabels
            What to join, in order.

        Returns
        -------
        FrameLabels
            All frames.

        Raises
        ------
        ValueError
            If there is nothing to join.

        Examples
        --------
        >>> from gnnpre.graphs import FrameLabels
        >>> one = FrameLabels([1], energy=[-1.0])
        >>> len(FrameLabels.concatenate([one, one]))
        2
        """
        if not parts:
            raise ValueError("parts is empty: there is nothing to concatenate.")
        shared = set.intersection(*(set(part.info) for part in parts))
        names = ("energy", "forces", "stress")
        return cls(
            np.concatenate([part.n_atoms for part in parts]),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
            info={key: np.concatenate([p.info[key] for p in parts]) for key in sorted(shared)},
        )


def _check_counts(n_atoms: Any) -> np.ndarray:
    counts = np.asarray(n_atoms)
    if counts.size == 0:
        counts = counts.astype(np.int64)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 1).any():
        raise ValueError(
            "n_atoms must hold the number of atoms of each frame, positive ints of shape (n,); "
            f"got shape {counts.shape}, dtype {counts.dtype}."
        )
    return counts.astype(np.int64)


def _stack_forces(forces: Any, n_atoms: np.ndarray) -> Any:
    """Put a list of per-frame arrays into one flat array, checking each frame's length."""
    if not isinstance(forces, (list, tuple)) or len(forces) == 0 or np.ndim(forces[0]) != 2:
        return forces
    if len(forces) != len(n_atoms):
        raise ValueError(f"forces has {len(forces)} frames; n_atoms has {len(n_atoms)}.")
    for index, (values, count) in enumerate(zip(forces, n_atoms, strict=True)):
        if np.shape(values) != (count, 3):
            raise ValueError(
                f"forces of frame {index} have shape {np.shape(values)}; expected ({count}, 3)."
            )
    return np.concatenate([np.asarray(values, dtype=np.float64) for values in forces])


def _check_label(name: str, values: Any, shape: tuple[int, ...], meaning: str) -> np.ndarray:
    if values is None:
        return np.full(shape, np.nan)
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers of shape {shape} ({meaning}).") from error
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {shape} ({meaning}).")
    if np.isinf(array).any():
        index = int(np.argwhere(np.isinf(array))[0][0])
        raise ValueError(f"{name} is infinite at row {index}; give NaN where it is missing.")
    return array


def _check_column(key: str, values: Any, n: int) -> np.ndarray:
    column = np.asarray(values)
    if column.ndim and column.dtype.kind in "US":
        # From the values themselves: NumPy has made strings of numbers and NaN among them.
        column = np.array(list(values), dtype=object)
    if column.shape != (n,):
        raise ValueError(f"info[{key!r}] has shape {column.shape}; expected ({n},).")
    return column
