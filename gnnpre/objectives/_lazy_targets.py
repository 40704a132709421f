"""Targets that are read when a batch needs them, and the targets of several objectives in one."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gnnpre._atomic import FULL_DISK
from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre.graphs import (
    Crystals,
    FrameLabels,
    LazyCrystals,
    LazyLabels,
    flat_indices,
    offsets_from_counts,
)

from ._targets import Targets

__all__ = [
    "AtomFile",
    "LabelSource",
    "LazyTargets",
    "iterate_chunks",
    "join_targets",
    "select_targets",
    "select_values",
    "target_chunks",
]

# Crystals that statistics are summed over at a time: the same in memory and from disk, so that
# both lead to the same numbers to the last bit.
CHUNK_ROWS = 4096


class TargetSource(Protocol):
    """Reads targets."""

    def load(self, rows: np.ndarray) -> Targets:
        """Read the targets of some crystals, in this order."""


class LabelSource:
    """Labels of a store, converted when they are read.

    Parameters
    ----------
    labels : LazyLabels
        The labels.
    convert : callable
        Converts labels that have been read.
    info : bool
        Whether the conversion needs the columns of ``info``.
    """

    def __init__(
        self, labels: LazyLabels, convert: Callable[[FrameLabels], Targets], *, info: bool
    ) -> None:
        self.labels = labels
        self.convert = convert
        self.info = info

    def load(self, rows: np.ndarray) -> Targets:
        """Read and convert the labels of some frames."""
        return self.convert(self.labels.load(rows, info=self.info))


class AtomFile:
    """Features of atoms in a temporary file, which goes when this object does.

    Parameters
    ----------
    name : str
        Name of the features among the targets.
    n_atoms : ndarray of shape (n,)
        Atoms of each crystal.
    chunks : iterable of ndarray of shape (N_chunk, D)
        Features of the atoms of consecutive crystals.
    """

    def __init__(self, name: str, n_atoms: np.ndarray, chunks: Iterable[np.ndarray]) -> None:
        self.name = name
        self.n_atoms = n_atoms
        self.offsets = offsets_from_counts(n_atoms)
        # Open as long as this object is there.
        self.file: Any = tempfile.TemporaryFile(prefix="gnnpre-")  # noqa: SIM115
        for chunk in chunks:
            self.append(chunk)

    def append(self, chunk: np.ndarray) -> None:
        """Write the features of the next atoms."""
        self.dtype, self.width = chunk.dtype, chunk.shape[1]
        try:
            self.file.write(np.ascontiguousarray(chunk).data)
            self.file.flush()
        except OSError as error:
            raise self._named(error) from error

    def _named(self, error: OSError) -> OSError:
        """Return an error of writing that says how much space all features take, and where."""
        if error.errno not in FULL_DISK:
            return error
        size = int(self.offsets[-1]) * self.width * self.dtype.itemsize / 1e9
        return OSError(
            error.errno,
            f"The disk of {tempfile.gettempdir()} is full ({os.strerror(error.errno or 0)}): "
            f"{self.name} of {self.offsets[-1]} atoms take {size:.3g} GB there. Free some space, "
            "or name another folder in the environment variable TMPDIR.",
        )

    def __getstate__(self) -> dict[str, Any]:
        # The file has no name any more; processes of this machine reach it as long as this one
        # runs.
        return {**self.__dict__, "file": f"/proc/{os.getpid()}/fd/{self.file.fileno()}"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, file=open(state["file"], "rb"))  # noqa: SIM115

    def load(self, rows: np.ndarray) -> Targets:
        """Read the features of the atoms of some crystals."""
        atoms = flat_indices(self.offsets, rows)
        values = np.empty((len(atoms), self.width), dtype=self.dtype)
        # Runs of consecutive atoms: threads share the file, so each read names its position.
        bounds = np.flatnonzero(np.diff(atoms, prepend=-2, append=-2) != 1).tolist()
        row_bytes = self.width * self.dtype.itemsize
        for start, stop in pairwise(bounds):
            buffer = values[start:stop].data.cast("B")
            done = 0
            while done < len(buffer):
                position = int(atoms[start]) * row_bytes + done
                done += os.preadv(self.file.fileno(), [buffer[done:]], position)
        return Targets(self.n_atoms[rows], {}, {self.name: torch.from_numpy(values)})


class LazyTargets(Targets):
    """Targets of which some are in memory and others are read batch by batch.

    Parameters
    ----------
    n_atoms : ndarray of shape (n,)
        Atoms of each crystal.
    sources : mapping of str to TargetSource
        Sources of targets by the prefix that their names get (``""`` or ``"name."``).
    crystal, atom : mapping of str to Tensor, optional
        Targets in memory.
    device : torch.device
        Device that targets are moved to once they are read.
    """

    def __init__(
        self,
        n_atoms: np.ndarray,
        sources: Mapping[str, TargetSource],
        crystal: Mapping[str, Tensor] | None = None,
        atom: Mapping[str, Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(n_atoms, crystal or {}, atom)
        self.sources = dict(sources)
        self.device = device

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "sources": self.sources, "device": self.device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        in_memory = Targets.__new__(Targets)
        in_memory.__setstate__(state)
        LazyTargets.__init__(
            self,
            state["n_atoms"],
            state["sources"],
            in_memory.crystal,
            in_memory.atom,
            state["device"],
        )

    def load(self, rows: np.ndarray) -> Targets:
        """Read the targets of some crystals into memory."""
        in_memory = super().load(rows)
        crystal, atom = in_memory.crystal, in_memory.atom
        for prefix, source in self.sources.items():
            read = source.load(rows)
            crystal |= {f"{prefix}{name}": values for name, values in read.crystal.items()}
            atom |= {f"{prefix}{name}": values for name, values in read.atom.items()}
        return Targets(in_memory.n_atoms, crystal, atom).to(self.device)

    def batch(self, indices: np.ndarray, dtype: torch.dtype) -> dict[str, Tensor]:
        """Read the targets of some crystals."""
        return self.load(indices).batch(np.arange(len(indices)), dtype)

    def to(self, device: torch.device | str) -> "LazyTargets":
        """Return the same targets, which are moved to a device once they are read."""
        moved = super().to(device)
        return LazyTargets(self.n_atoms, self.sources, moved.crystal, moved.atom, device)

    def with_crystal(self, name: str, values: Tensor) -> "LazyTargets":
        """Return targets with another one of crystals."""
        crystal = {**self.crystal, name: values}
        return LazyTargets(self.n_atoms, self.sources, crystal, self.atom, self.device)


def join_targets(n_atoms: np.ndarray, named: Mapping[str, Targets]) -> Targets:
    """Return the targets of several objectives as one, under ``name.key``."""
    crystal: dict[str, Tensor] = {}
    atom: dict[str, Tensor] = {}
    sources: dict[str, TargetSource] = {}
    for name, targets in named.items():
        crystal |= add_prefix(name, targets.crystal)
        atom |= add_prefix(name, targets.atom)
        if isinstance(targets, LazyTargets):
            sources |= add_prefix(name, targets.sources)
    if not sources:
        return Targets(n_atoms, crystal, atom)
    return LazyTargets(n_atoms, sources, crystal, atom)


def select_values(name: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of one objective, and the weights of samples, which all share."""
    selected = select_prefix(name, values)
    if "sample_weight" in values:
        selected["sample_weight"] = values["sample_weight"]
    return selected


def select_targets(name: str, targets: Targets) -> Targets:
    """Return the targets of one objective."""
    crystal, atom = (select_values(name, values) for values in (targets.crystal, targets.atom))
    if not isinstance(targets, LazyTargets):
        return Targets(targets.n_atoms, crystal, atom)
    sources = select_prefix(name, targets.sources)
    return LazyTargets(targets.n_atoms, sources, crystal, atom, targets.device)


def iterate_chunks(
    crystals: Crystals | LazyCrystals, targets: Targets, rows: np.ndarray
) -> Iterator[tuple[Crystals, Targets]]:
    """Yield some crystals with their targets, chunk by chunk, in order."""
    for chunk, chunk_targets in zip(_chunks(rows), target_chunks(targets, rows), strict=True):
        if isinstance(crystals, LazyCrystals):
            yield crystals.load(chunk, info=False), chunk_targets
        else:
            yield crystals[chunk], chunk_targets


def target_chunks(targets: Targets, rows: np.ndarray) -> Iterator[Targets]:
    """Yield the targets of some crystals, chunk by chunk, in order."""
    return (targets.load(chunk) for chunk in _chunks(rows))


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))
