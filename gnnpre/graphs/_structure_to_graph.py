"""The transformer from structures to graphs."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin

from gnnpre._devices import resolve_device
from gnnpre._validation import check_n_jobs

from ._build_graphs import build_graphs
from ._containers import as_crystals, check_container
from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals
from ._gpu_neighbors import check_installed
from ._lazy_crystals import LazyCrystals
from ._lazy_graphs import LazyGraphs
from ._settings import GraphSettings
from ._transformers import StatelessTransformerMixin

__all__ = ["StructureToGraph"]


class StructureToGraph(
    StatelessTransformerMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Convert crystal structures to graphs with every neighbour within a cutoff.

    Every periodic image within the cutoff is a neighbour, including images of the atom itself, in
    small and skewed cells too. An atom without neighbours is allowed: it receives no messages, so
    that its features depend on its element only.

    Parameters
    ----------
    cutoff : float
        Largest distance between neighbours in Å.
    max_neighbors : int, optional
        Keep the nearest neighbours of each atom only; all of them by default. A cut makes forces
        discontinuous, so objectives that learn forces warn when it is set.
    neighbor_cut : {"shell", "exact"}
        How ``max_neighbors`` treats a shell of equal distances that it falls into: keep the whole
        shell (more than ``max_neighbors`` neighbours, but symmetry is preserved), or cut it, as
        the published models do.
    shell_tolerance : float
        Distances that differ by less than this (Å) belong to one shell.
    n_jobs : int, optional
        Number of processes for the neighbour search, as in scikit-learn. A GPU takes one.
    device : str
        Device of the neighbour search: ``"cpu"``, or a GPU, ``"cuda"`` or ``"cuda:0"``, which
        needs ``pip install "gnnpre[gpu]"``. Both find the same edges, and the graphs are on the
        CPU (:meth:`CrystalGraphs.to` moves them). The order of an atom's neighbours differs, so
        that ``neighbor_cut="exact"`` may select different ones among equally distant neighbours.

    See Also
    --------
    CrystalGraphs : The graphs that :meth:`transform` returns.
    Crystals : Many structures in flat arrays, the fastest input.

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
        X : Crystals, or list, tuple, Series or object array of n structures
            See :meth:`transform`.
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
            If ``X`` is not a container of structures.
        ImportError
            If ``device`` is a GPU and nvalchemi-toolkit-ops is not installed.
        """
        self._settings()
        self._search_device()
        self._check_container(X)
        self._remember_column(X)
        return self

    def transform(self, X: Any) -> Any:
        """Build the graphs.

        Parameters
        ----------
        X : Crystals, or list, tuple, Series or object array of n structures
            Each structure is a pymatgen ``Structure`` or ``Molecule``, or ASE ``Atoms``, periodic
            in any direction or none. Entries (``ComputedStructureEntry``), rows of an ASE
            database, dicts of ``Structure.as_dict`` and the content of CIF, POSCAR or JSON files
            are read too. The structures are not modified.

        Returns
        -------
        CrystalGraphs
            The graphs of the n structures, in order. Those of a ``CrystalStore`` are built when
            training or prediction needs them.

        Raises
        ------
        ValueError, TypeError
            If a structure is disordered, holds elements beyond 118, or has a singular cell or
            positions that are not finite or coincide; the message names the structure.
        """
        device = self._search_device()
        if isinstance(X, LazyCrystals):
            self._check_container(X)
            return LazyGraphs(X, self._settings())
        crystals = self._crystals(X)
        return build_graphs(crystals, self._settings(), n_jobs=self.n_jobs, device=device)

    def set_output(self, *, transform: str | None = None) -> "StructureToGraph":
        """Accept any container and ignore it: graphs are not a table.

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

    def _check_container(self, X: Any) -> None:
        if isinstance(X, (CrystalGraphs, LazyGraphs)):
            raise TypeError("X holds graphs already: leave StructureToGraph out of the pipeline.")
        check_container(X)

    def _remember_column(self, X: Any) -> None:
        # scikit-learn records column names of arrays only, and pipelines ask for them.
        names = list(getattr(X, "columns", []))
        if names and isinstance(names[0], str):
            self.feature_names_in_ = np.asarray(names, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _crystals(self, X: Any) -> Crystals:
        self._check_container(X)
        return as_crystals(X)

    def _settings(self) -> GraphSettings:
        check_n_jobs(self.n_jobs)
        settings = GraphSettings(
            self.cutoff, self.max_neighbors, self.neighbor_cut, self.shell_tolerance
        )
        settings.check()
        # Python numbers instead of NumPy's, which JSON cannot hold.
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
