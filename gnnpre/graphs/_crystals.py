"""Many crystals packed in flat arrays: structures without a Python object for each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnpre._array_likes import plain
from gnnpre._validation import check_number

from ._columns import as_columns, as_ids, as_index, check_blocks, join_columns, join_indices
from ._crystal_arrays import check_atoms, check_cells, check_counts, number_array
from ._crystal_rows import CrystalRows
from ._indexing import flat_rows, offsets_from_counts

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

__all__ = ["Crystals"]

ARRAYS = ("atomic_numbers", "positions", "cell", "pbc", "n_atoms")


class Crystals(CrystalRows):
    """Crystals packed in flat arrays: n of them, with N atoms in all.

    It is accepted wherever a list of structures is, takes about the memory of its arrays, and
    becomes graphs without a Python object for each crystal. scikit-learn splits it like an array
    (``len``, ``shape``, and an index array or mask), and the workers of joblib memory-map it.

    Parameters
    ----------
    atomic_numbers : array-like of shape (N,)
        Atomic numbers, crystal after crystal.
    positions : array-like of shape (N, 3)
        Cartesian positions in Å.
    cell : array-like of shape (n, 3, 3)
        Cell vectors in Å, as rows.
    n_atoms : array-like of shape (n,)
        Number of atoms of each crystal.
    pbc : bool, or array-like of shape (3,) or (n, 3)
        Periodic directions.
    ids : array-like of shape (n,), optional
        Strings or integers that name the crystals, such as ``"mp-149"``; errors mention them.
    info : mapping of str to array-like of shape (n,), optional
        Columns that describe the crystals.
    index : pandas Index or array-like of shape (n,), optional
        Labels of the rows of the table that the crystals come from. They label the rows of
        tables that are computed from the crystals, such as embeddings as pandas output.

    Attributes
    ----------
    offsets : ndarray of shape (n + 1,)
        ``positions[offsets[i]:offsets[i + 1]]`` are the atoms of crystal i.

    See Also
    --------
    CrystalGraphs : The crystals with their edges.

    Notes
    -----
    Arrays of the right type (int32, float64, float64, int64, bool, in the order above) are used
    without a copy and are not to be modified afterwards. A slice shares the memory of the whole.

    Examples
    --------
    >>> import numpy as np
    >>> from gnnpre.graphs import Crystals
    >>> crystals = Crystals(
    ...     atomic_numbers=[29, 26, 26],
    ...     positions=[[0, 0, 0], [0, 0, 0], [1.43, 1.43, 1.43]],
    ...     cell=[3.6 * np.eye(3), 2.86 * np.eye(3)],
    ...     n_atoms=[1, 2],
    ...     ids=["copper", "iron"],
    ... )
    >>> crystals
    Crystals(n=2, atoms=3, ids)
    >>> crystals[1].formula
    'Fe2'
    >>> crystals[[True, False]].ids
    array(['copper'], dtype='<U6')
    """

    def __init__(
        self,
        *,
        atomic_numbers: Any,
        positions: Any,
        cell: Any,
        n_atoms: Any,
        pbc: Any = True,
        ids: Any = None,
        info: Mapping[str, Any] | None = None,
        index: Any = None,
    ) -> None:
        self.n_atoms = number_array("n_atoms", n_atoms, np.int64, (-1,))
        n = len(self.n_atoms)
        self.atomic_numbers = number_array("atomic_numbers", atomic_numbers, np.int32, (-1,))
        total = len(self.atomic_numbers)
        self.positions = number_array("positions", positions, np.float64, (total, 3))
        self.cell = number_array("cell", cell, np.float64, (n, 3, 3))
        self.pbc = _as_pbc(pbc, n)
        check_counts("n_atoms", self.n_atoms, total, 1, "atoms")
        check_cells(self.cell)
        check_atoms(self.atomic_numbers, self.positions, self.n_atoms)
        self.ids = as_ids(ids, n)
        self.info = as_columns(info, n)
        self.index = as_index(index, n)
        self.offsets = offsets_from_counts(self.n_atoms)

    @classmethod
    def _from_checked(
        cls, arrays: Mapping[str, np.ndarray], ids: Any, info: dict[str, np.ndarray], index: Any
    ) -> "Crystals":
        """Build crystals from arrays that have been checked before."""
        crystals = cls.__new__(cls)
        crystals.__setstate__({**arrays, "ids": ids, "info": info, "index": index})
        return crystals

    @classmethod
    def from_structures(
        cls,
        structures: Any,
        *,
        ids: Any = None,
        info: Mapping[str, Any] | None = None,
        index: Any = None,
    ) -> "Crystals":
        """Pack a list of structures.

        Parameters
        ----------
        structures : list, tuple, Series or object array of n structures
            Each a pymatgen ``Structure`` or ``Molecule``, or ASE ``Atoms``.
        ids : array-like of shape (n,), optional
            Names of the crystals.
        info : mapping of str to array-like of shape (n,), optional
            Columns that describe the crystals.
        index : pandas Index or array-like of shape (n,), optional
            Labels of the rows; those of a pandas Series by default.

        Returns
        -------
        Crystals
            The crystals, in order.

        Raises
        ------
        ValueError, TypeError
            If a structure cannot be used; the message names it.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from gnnpre.graphs import Crystals
        >>> Crystals.from_structures([bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64)])
        Crystals(n=2, atoms=3)
        """
        from ._containers import as_structure_list
        from ._structures import pack_structures

        arrays = pack_structures(as_structure_list(structures))
        if index is None and hasattr(structures, "iloc"):
            index = structures.index
        return cls(**arrays, ids=ids, info=info, index=index)

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def nbytes(self) -> int:
        """Memory of all arrays in bytes, without the index."""
        arrays = [getattr(self, name) for name in (*ARRAYS, "offsets")]
        columns = [*self.info.values(), *([] if self.ids is None else [self.ids])]
        return int(sum(array.nbytes for array in (*arrays, *columns)))

    def __repr__(self) -> str:
        extras = "".join(
            [
                ", ids" if self.ids is not None else "",
                f", info={sorted(self.info)}" if self.info else "",
                ", index" if self.index is not None else "",
            ]
        )
        return f"Crystals(n={len(self)}, atoms={len(self.atomic_numbers)}{extras})"

    def _get_some(self, rows: slice | np.ndarray) -> "Crystals":
        atoms = flat_rows(self.offsets, rows)
        arrays = {
            "atomic_numbers": self.atomic_numbers[atoms],
            "positions": self.positions[atoms],
            **{name: getattr(self, name)[rows] for name in ("cell", "pbc", "n_atoms")},
        }
        return self._from_checked(
            arrays,
            None if self.ids is None else self.ids[rows],
            {name: column[rows] for name, column in self.info.items()},
            None if self.index is None else self.index[rows],
        )

    def _with(self, **arrays: np.ndarray) -> "Crystals":
        """Return the same crystals with other arrays, which are not checked."""
        arrays = {**{name: getattr(self, name) for name in ARRAYS}, **arrays}
        return self._from_checked(arrays, self.ids, self.info, self.index)

    def split(self, size: int) -> list["Crystals"]:
        """Split into consecutive pieces of at most ``size`` crystals that share memory.

        Parameters
        ----------
        size : int
            Maximum number of crystals in a piece.

        Returns
        -------
        list of Crystals
            The pieces, in order.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from gnnpre.graphs import Crystals
        >>> [len(piece) for piece in Crystals.from_structures([bulk("Cu")] * 5).split(2)]
        [2, 2, 1]
        """
        check_number("size", size, integer=True)
        return [self[start : start + size] for start in range(0, len(self), size)]

    def to_structures(self) -> "list[Structure]":
        """Return the crystals as pymatgen structures.

        Returns
        -------
        list of Structure
            Atoms at their positions (not wrapped into the cell). Vectors of directions that are
            not periodic are replaced if the cell would be singular with them.
        """
        return list(self)

    def to_atoms(self) -> "list[Atoms]":
        """Return the crystals as ASE atoms.

        Returns
        -------
        list of Atoms
            With cell and periodic directions.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from gnnpre.graphs import Crystals
        >>> Crystals.from_structures([bulk("Cu")]).to_atoms()[0].get_chemical_formula()
        'Cu'
        """
        from ase import Atoms

        return [
            Atoms(
                self.atomic_numbers[start:stop],
                self.positions[start:stop],
                cell=self.cell[row],
                pbc=self.pbc[row],
            )
            for row, (start, stop) in enumerate(
                zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)
            )
        ]

    def _get_one(self, row: int) -> "Structure":
        from ._to_structure import to_structure

        atoms = slice(self.offsets[row], self.offsets[row + 1])
        return to_structure(
            self.atomic_numbers[atoms], self.positions[atoms], self.cell[row], self.pbc[row]
        )

    def __getstate__(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return {**arrays, "ids": self.ids, "info": self.info, "index": self.index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.offsets = offsets_from_counts(self.n_atoms)

    @classmethod
    def concatenate(cls, blocks: Sequence["Crystals"]) -> "Crystals":
        """Join several sets of crystals.

        Parameters
        ----------
        blocks : sequence of Crystals
            The blocks to join, in order. Ids, columns and the index stay where all have them.

        Returns
        -------
        Crystals
            All crystals.

        Raises
        ------
        ValueError, TypeError
            If there is nothing to join, or a block is of another type.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from gnnpre.graphs import Crystals
        >>> copper = Crystals.from_structures([bulk("Cu")], ids=["Cu"])
        >>> Crystals.concatenate([copper, copper]).ids
        array(['Cu', 'Cu'], dtype='<U2')
        """
        blocks = check_blocks(blocks, cls)
        arrays = {name: np.concatenate([getattr(b, name) for b in blocks]) for name in ARRAYS}
        ids = [block.ids for block in blocks if block.ids is not None]
        return cls._from_checked(
            arrays,
            np.concatenate(ids) if len(ids) == len(blocks) else None,
            join_columns([block.info for block in blocks]),
            join_indices([block.index for block in blocks]),
        )


def _as_pbc(pbc: Any, n: int) -> np.ndarray:
    array = np.asarray(plain(pbc))
    # Files hold 0 and 1.
    if array.dtype.kind in "iu" and np.isin(array, (0, 1)).all():
        array = array.astype(bool)
    if array.shape in ((), (3,)) and array.dtype == bool:
        return np.ascontiguousarray(np.broadcast_to(array, (n, 3)))
    return number_array("pbc", array, np.bool_, (n, 3))
