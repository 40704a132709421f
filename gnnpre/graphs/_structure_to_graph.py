"""The transformer from structures to graphs."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin

from gnnpre._devices import resolve_device

from ._containers import as_crystals, check_container
from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals
from ._gpu_neighbors import check_installed
from ._neighbors import Edges, find_edges, join_edges
from ._settings import GraphSettings
from ._tensors import share_memory

__all__ = ["StructureToGraph", "build_graphs", "join_graphs"]

# Crystals searched together: few enough for their pairs to stay in the cache.
CHUNK = 64
# On a GPU: enough to keep it busy.
DEVICE_CHUNK = 4096


class StructureToGraph(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Turn crystal structures into graphs with every neighbour within a cutoff.

    Every periodic image within the cutoff is a neighbour, an atom's own images too, in small and
    skewed cells as well. An atom without any neighbour is allowed: it receives no messages, and a
    backbone sees its element alone.

    Parameters
    ----------
    cutoff : float
        Largest distance between neighbours in Å.
    max_neighbors : int, optional
        Keep the nearest neighbours of each atom only; all of them by default. A cut makes forces
        discontinuous, so objectives that learn forces warn when it is set.
    neighbor_cut : {"shell", "exact"}
        What ``max_neighbors`` does when it falls into a shell of equal distances: keep that shell
        whole (more than ``max_neighbors`` stay then, and symmetry with them), or cut it, as the
        published models do.
    shell_tolerance : float
        Distances that differ by less than this (Å) belong to one shell.
    n_jobs : int, optional
        Processes for the neighbour search, as in scikit-learn; on a GPU none but this one.
    device : str
        Where neighbours are searched: ``"cpu"``, or a GPU, ``"cuda"`` or ``"cuda:0"``, which needs
        ``pip install "gnnpre[gpu]"``. The edges are the same, and the graphs are on the CPU with
        either (:meth:`CrystalGraphs.to` moves them); neighbours of an atom come in another order,
        and by that ``neighbor_cut="exact"`` may keep others of those equally far.

    See Also
    --------
    CrystalGraphs : What :meth:`transform` returns.

    Notes
    -----
    Graphs are not a table, and :meth:`set_output` does nothing. They carry the index of the Series
    or DataFrame that they are built from, so that tables computed from them (embeddings or
    fingerprints as pandas output) have its row labels.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre import StructureToGraph
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> StructureToGraph(cutoff=3.0).fit_transform([salt])
    CrystalGraphs(n=1, atoms=8, edges=48, cutoff=3.0 Å, cpu)
    """

    def __init__(
        self,
        cutoff: float = 6.0,
        *,
        max_neighbors: int | None = None,
        neighbor_cut: str = "shell",
        shell_tolerance: float = 0.01,
        n_jobs: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.cutoff = cutoff
        self.max_neighbors = max_neighbors
        self.neighbor_cut = neighbor_cut
        self.shell_tolerance = shell_tolerance
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X: Any, y: Any = None) -> "StructureToGraph":
        """Check parameters and the container of structures; there is nothing to learn.

        Parameters
        ----------
        X : list, tuple, Series or object array of n structures
            Each a pymatgen ``Structure`` or ASE ``Atoms``.
        y : object, optional
            Ignored.

        Returns
        -------
        StructureToGraph
            This transformer.

        Raises
        ------
        ValueError
            If a parameter is out of range, torch does not see the GPU that ``device`` names, or
            there are no structures.
        TypeError
            If ``X`` is no container of structures.
        ImportError
            If ``device`` is a GPU and nvalchemi-toolkit-ops is not installed.
        """
        self._settings()
        self._search_device()
        self._check_container(X)
        self._remember_column(X)
        return self

    def transform(self, X: Any) -> CrystalGraphs:
        """Build the graphs.

        Parameters
        ----------
        X : list, tuple, Series or object array of n structures
            Each a pymatgen ``Structure`` or ASE ``Atoms``, periodic in any direction or none. They
            are left as they were.

        Returns
        -------
        CrystalGraphs
            The graphs of the n structures, in order.

        Raises
        ------
        ValueError, TypeError
            If a structure is no crystal of ordered elements 1 to 118 with finite, distinct
            positions in a regular cell; the message names it.
        """
        device = self._search_device()
        crystals = self._crystals(X)
        return build_graphs(crystals, self._settings(), n_jobs=self.n_jobs, device=device)

    def set_output(self, *, transform: str | None = None) -> "StructureToGraph":
        """Do nothing: a graph is no table, whatever container is asked for.

        Parameters
        ----------
        transform : str, optional
            Ignored.

        Returns
        -------
        StructureToGraph
            This transformer.

        Examples
        --------
        >>> from gnnpre import StructureToGraph
        >>> StructureToGraph().set_output(transform="pandas")
        StructureToGraph()
        """
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the name of the column of structures, so that a pipeline has feature names.

        Parameters
        ----------
        input_features : array-like of str, optional
            Name of the column; that of the DataFrame in ``fit``, or ``"structure"``, by default.

        Returns
        -------
        ndarray of str
            One name.

        Examples
        --------
        >>> from gnnpre import StructureToGraph
        >>> StructureToGraph().get_feature_names_out()
        array(['structure'], dtype=object)
        """
        if input_features is None:
            input_features = getattr(self, "feature_names_in_", ["structure"])
        return np.asarray(input_features, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = False
        return tags

    def _check_container(self, X: Any) -> None:
        if isinstance(X, CrystalGraphs):
            raise TypeError("X holds graphs already: leave StructureToGraph out of the pipeline.")
        check_container(X)

    def _remember_column(self, X: Any) -> None:
        names = list(getattr(X, "columns", []))
        if names and isinstance(names[0], str):
            self.feature_names_in_ = np.asarray(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _crystals(self, X: Any) -> Crystals:
        self._check_container(X)
        return as_crystals(X)

    def _settings(self) -> GraphSettings:
        settings = GraphSettings(
            self.cutoff, self.max_neighbors, self.neighbor_cut, self.shell_tolerance
        )
        settings.check()
        # Plain numbers, which JSON can hold, instead of those of NumPy.
        return replace(
            settings,
            cutoff=float(self.cutoff),
            max_neighbors=None if self.max_neighbors is None else int(self.max_neighbors),
            shell_tolerance=float(self.shell_tolerance),
        )

    def _search_device(self) -> torch.device:
        device = resolve_device(self.device, auto=False)
        if device.type != "cpu":
            check_installed()
            if self.n_jobs not in (None, 1):
                raise ValueError(
                    f"n_jobs={self.n_jobs!r} with device={self.device!r}; expected n_jobs=None: "
                    "one process searches all crystals on a GPU."
                )
        return device


def build_graphs(
    crystals: Crystals,
    settings: GraphSettings,
    first: int = 0,
    n_jobs: int | None = None,
    device: torch.device | None = None,
) -> CrystalGraphs:
    """Find the edges of crystals, of which the one at 0 is called ``first`` in errors."""
    chunk = CHUNK if device is None or device.type == "cpu" else DEVICE_CHUNK
    pieces = crystals.split(chunk)
    jobs = [(piece, settings, first + chunk * i, device) for i, piece in enumerate(pieces)]
    if n_jobs in (None, 1) or len(jobs) == 1:
        edges = [find_edges(*job) for job in jobs]
    else:
        from joblib import Parallel, delayed

        edges = list(Parallel(n_jobs=n_jobs)(delayed(find_edges)(*job) for job in jobs))
    return join_graphs(crystals, edges, settings)


def join_graphs(crystals: Crystals, edges: list[Edges], settings: GraphSettings) -> CrystalGraphs:
    """Join crystals and the edges of consecutive pieces of them."""
    arrays = join_edges(edges)
    tensors = {
        "atomic_numbers": crystals.atomic_numbers,
        "positions": crystals.positions,
        "cell": _replace_rows(crystals.cell, arrays.cells),
        "pbc": crystals.pbc,
        "n_atoms": crystals.n_atoms,
        "edge_index": arrays.index,
        "edge_shift": arrays.shift,
        "n_edges": arrays.n_edges,
    }
    return CrystalGraphs._from_checked(
        {name: share_memory(array) for name, array in tensors.items()}, settings, crystals.index
    )


def _replace_rows(cell: np.ndarray, cells: dict[int, np.ndarray]) -> np.ndarray:
    if not cells:
        return cell
    replaced = cell.copy()
    for row, vectors in cells.items():
        replaced[row] = vectors
    return replaced
