"""Energies, forces and stresses of many frames, indexed like an array by scikit-learn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnpre._atom_labels import object_rows
from gnnpre._storage import load_tensors, reading, save_tensors

from ._columns import as_columns, check_blocks, join_columns
from ._indexing import flat_rows, offsets_from_counts, resolve_rows
from ._label_arrays import check_atom_columns, check_counts_of_frames, check_label, stack_forces
from ._stored_columns import check_names, decode_columns, encode_columns

__all__ = ["FrameLabels"]

KIND = "FrameLabels"
ATOM_PREFIX = "atom_info."
ARRAYS = ("n_atoms", "energy", "forces", "stress")


class FrameLabels:
    """Labels of a force field for n frames: energy, forces, stress, and columns of information.

    It is passed as ``y``. It has a length and a shape, and scikit-learn indexes it like an array,
    so that ``train_test_split``, ``cross_val_score`` and ``GridSearchCV`` accept it.

    Parameters
    ----------
    n_atoms : array-like of shape (n,)
        Number of atoms of each frame.
    energy : array-like of shape (n,), optional
        Total energy of the cell in eV, NaN where missing. All missing by default.
    forces : array-like of shape (sum(n_atoms), 3), or list of n arrays (n_atoms[i], 3), optional
        Forces in eV/Å, one row per atom, NaN where missing. All missing by default.
    stress : array-like of shape (n, 3, 3), optional
        Stress ``dE/dstrain / volume`` in eV/Å^3, positive in tension; NaN where missing. All
        missing by default.
    info : mapping of str to array-like of shape (n,), optional
        Columns that describe the frames, such as ``mptrj_traj_id``; see :meth:`groups`.
    atom_info : mapping of str to array-like of shape (sum(n_atoms),), or n arrays, optional
        Numbers of atoms, such as ``magmom``, NaN where missing; see :meth:`per_atom`.

    Attributes
    ----------
    offsets : ndarray of shape (n + 1,)
        ``forces[offsets[i]:offsets[i + 1]]`` are those of frame i.

    Raises
    ------
    ValueError
        If a label does not have the shape that ``n_atoms`` implies, is infinite, or is not a
        number (dates, texts, complex numbers and booleans are not). Masked entries, None and
        ``pandas.NA`` are missing.

    Examples
    --------
    >>> from gnnpre.graphs import FrameLabels
    >>> labels = FrameLabels([1, 2], energy=[-3.5, -7.1], info={"material": ["a", "b"]})
    >>> labels.shape, labels[[1]].energy
    ((2,), array([-7.1]))
    >>> labels.groups("material")
    array(['a', 'b'], dtype='<U1')
    """

    def __init__(
        self,
        n_atoms: Any,
        *,
        energy: Any = None,
        forces: Any = None,
        stress: Any = None,
        info: Mapping[str, Any] | None = None,
        atom_info: Mapping[str, Any] | None = None,
    ) -> None:
        self.n_atoms = check_counts_of_frames(n_atoms)
        n, total = len(self.n_atoms), int(self.n_atoms.sum())
        self.offsets = offsets_from_counts(self.n_atoms)
        self.energy = check_label("energy", energy, (n,), "eV per cell, one per frame")
        self.forces = check_label(
            "forces", stack_forces(forces, self.n_atoms), (total, 3), "eV/Å, one row per atom"
        )
        self.stress = check_label("stress", stress, (n, 3, 3), "eV/Å^3, one 3x3 matrix per frame")
        self.info = as_columns(info, n, "frames")
        self.atom_info = check_atom_columns(atom_info, self.n_atoms)

    @classmethod
    def _from_checked(
        cls,
        arrays: Mapping[str, np.ndarray],
        info: dict[str, np.ndarray],
        atom_info: dict[str, np.ndarray],
    ) -> "FrameLabels":
        """Build labels from arrays that have been checked before."""
        labels = cls.__new__(cls)
        for name in ARRAYS:
            setattr(labels, name, arrays[name])
        labels.offsets = offsets_from_counts(labels.n_atoms)
        labels.info, labels.atom_info = info, atom_info
        return labels

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def shape(self) -> tuple[int]:
        """Shape ``(n,)``, which scikit-learn reads from a y."""
        return (len(self),)

    def __repr__(self) -> str:
        counts = [
            f"{np.isfinite(values).all(axis=tuple(range(1, values.ndim))).sum()} {unit}"
            for values, unit in (
                (self.energy, "energies"),
                (self.forces, "forces"),
                (self.stress, "stresses"),
            )
        ]
        columns = f"info={sorted(self.info)}"
        if self.atom_info:
            columns += f", atom_info={sorted(self.atom_info)}"
        return f"FrameLabels(n={len(self)}, {', '.join(counts)}, {columns})"

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            "FrameLabels holds forces of ragged shape and is not an array: use .energy, .forces or "
            ".stress, or pass the object itself as y."
        )

    def __getitem__(self, key: Any) -> "FrameLabels":
        if isinstance(key, (int, np.integer)):
            key = [key]
        rows = resolve_rows(key, len(self), "FrameLabels")
        arrays = {name: getattr(self, name)[rows] for name in ("n_atoms", "energy", "stress")}
        atoms = flat_rows(self.offsets, rows)
        arrays["forces"] = self.forces[atoms]
        info = {name: column[rows] for name, column in self.info.items()}
        atom_info = {name: column[atoms] for name, column in self.atom_info.items()}
        return self._from_checked(arrays, info, atom_info)

    def groups(self, key: str) -> np.ndarray:
        """Return one column of ``info``, for splitters that keep groups together.

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
            If there is no such column; the message lists the columns.
        TypeError
            If the key is not a string.

        Examples
        --------
        >>> from gnnpre.graphs import FrameLabels
        >>> FrameLabels([1, 1], info={"run": [7, 8]}).groups("run")
        array([7, 8])
        """
        if not isinstance(key, str):
            raise TypeError(f"key={key!r}; expected the name of an info column.")
        if key not in self.info:
            raise KeyError(f"No info column {key!r}; there are {sorted(self.info)}.")
        return self.info[key]

    def per_atom(self, key: str) -> np.ndarray:
        """Return one column of ``atom_info`` as y of ``PropertyRegressor(target="atom")``.

        Parameters
        ----------
        key : str
            Name of the column, such as ``"magmom"``.

        Returns
        -------
        ndarray of shape (n,)
            An object array of n arrays ``(n_atoms[i],)``, NaN where missing.

        Raises
        ------
        KeyError
            If there is no such column; the message lists the columns.

        Examples
        --------
        >>> from gnnpre.graphs import FrameLabels
        >>> FrameLabels([1, 2], atom_info={"magmom": [[2.2], [0.0, 0.1]]}).per_atom("magmom")[1]
        array([0. , 0.1])
        """
        if key not in self.atom_info:
            raise KeyError(f"No atom_info column {key!r}; there are {sorted(self.atom_info)}.")
        # Of no frames np.split returns one empty piece.
        return object_rows(np.split(self.atom_info[key], self.offsets[1:-1])[: len(self)])

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
        tensors = {name: torch.from_numpy(getattr(self, name)) for name in ARRAYS}
        columns, info = encode_columns(self.info)
        atom_columns, atom_info = encode_columns(self.atom_info, ATOM_PREFIX)
        save_tensors(
            path,
            {**tensors, **columns, **atom_columns},
            kind=KIND,
            metadata={"info": info, "atom_info": atom_info},
        )

    @classmethod
    def load(cls, path: str | Path) -> "FrameLabels":
        """Read labels from a file of :meth:`save`.

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
            If the file is damaged, holds something else, or its labels are inconsistent.
        """
        tensors, metadata = load_tensors(path, kind=KIND)
        with reading(path):
            # decode_columns takes its tensors out of the dict: the labels remain.
            n, n_atoms = len(tensors["n_atoms"]), int(tensors["n_atoms"].sum())
            info = decode_columns(tensors, metadata["info"], n)
            # Files from before there were columns of atoms do not mention any.
            described = metadata.get("atom_info", [])
            atom_info = decode_columns(tensors, described, n_atoms, ATOM_PREFIX)
            check_names(tensors, ARRAYS)
            arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
            labels = cls(**arrays, atom_info=atom_info)
            labels.info = info
            return labels

    @classmethod
    def concatenate(cls, blocks: Sequence["FrameLabels"]) -> "FrameLabels":
        """Join several sets of labels.

        Parameters
        ----------
        blocks : sequence of FrameLabels
            The blocks to join, in order. Columns of ``info`` and ``atom_info`` are retained where
            all have them.

        Returns
        -------
        FrameLabels
            All frames.

        Raises
        ------
        ValueError, TypeError
            If there is nothing to join, or a block is of another type.

        Examples
        --------
        >>> from gnnpre.graphs import FrameLabels
        >>> one = FrameLabels([1], energy=[-1.0])
        >>> len(FrameLabels.concatenate([one, one]))
        2
        """
        blocks = check_blocks(blocks, cls)
        arrays = {
            name: np.concatenate([getattr(block, name) for block in blocks]) for name in ARRAYS
        }
        info = join_columns([block.info for block in blocks])
        atom_info = join_columns([block.atom_info for block in blocks])
        return cls._from_checked(arrays, info, atom_info)
