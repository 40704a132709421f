"""Parquet files with LeMat's (OPTIMADE's) columns: LeMat-Bulk, LeMat-Traj and our own."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gnnpre._join_arrays import join_arrays
from gnnpre._warnings import DataQualityWarning, warn_user

from ..graphs import Crystals, FrameLabels
from ._info_columns import join_labels
from ._label_checks import check_labels
from ._parameters import check_names
from ._parquet_pieces import iterate_parquet
from ._parquet_rows import ParquetPiece

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_parquet"]

_PathLike = str | os.PathLike[str]


def read_parquet(
    source: _PathLike | Iterable[_PathLike],
    targets: str | Sequence[str] | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> "tuple[Crystals, FrameLabels | pd.Series | pd.DataFrame]":
    """Read crystals from Parquet files with the columns of LeMat-Bulk.

    Row groups are streamed, and of the columns only those that are asked for are read. Such files
    are LeMat-Bulk [1]_, LeMat-Traj, and those that :func:`to_parquet` writes.

    Parameters
    ----------
    source : str, path-like or iterable of them
        Files, or a folder whose ``.parquet`` files are read in the order of their names.
    targets : str or list of str, optional
        Columns to return as table of targets. By default labels of a force field are returned.
    columns : list of str, optional
        Further columns for ``info``: scalars such as ``"functional"``. By default all scalars but
        those that repeat the structure. Lists of one number per atom, such as
        ``"magnetic_moments"``, are read into ``atom_info`` of the labels; by default those of
        files that :func:`to_parquet` wrote.

    Returns
    -------
    crystals : Crystals
        The crystals. ``ids`` are those of ``immutable_id``, ``info`` has the columns.
    labels : FrameLabels, Series or DataFrame
        Energy (eV per cell), forces (eV/Å) and stress (eV/Å^3, positive in tension), NaN where
        missing or malformed, with the same ``info``; or the targets, with the ids as index: a
        Series if ``targets`` is one name.

    Raises
    ------
    ValueError
        If a file is truncated, altered or no Parquet, lacks a column (the message names it), a row
        has no valid structure, or a column such as ``energy_unit`` or the metadata of a column
        state another unit than LeMat's (eV, eV/Å, kbar, Å).
    ImportError
        If pyarrow, of the extra ``store``, is not installed.

    Warns
    -----
    UserWarning
        If forces or stresses are malformed, ids missing in some rows, labels implausible, or the
        stress seems to have the opposite sign.

    See Also
    --------
    to_parquet : Write such a file.

    Notes
    -----
    ``stress_tensor`` is in kbar and positive in compression, as VASP prints it: it is multiplied
    by -1/1602.18. Rows with empty forces or stress have none; they are not zero.

    Where ``species`` has OPTIMADE's nested descriptions, they say which elements the names in
    ``species_at_sites`` are, and species that are disordered are errors. As text (LeMat-Bulk) they
    are not read: names are symbols there.

    References
    ----------
    .. [1] M. Siron et al., "LeMat-Bulk: aggregating, and de-duplicating quantum chemistry
       materials databases", AI for Accelerated Materials Design, ICLR (2025).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gnnpre import Crystals
    >>> from gnnpre.datasets import make_emt_frames, read_parquet, to_parquet
    >>> structures, labels = make_emt_frames(3, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "emt.parquet"
    >>> to_parquet(path, Crystals.from_structures(structures), labels)
    >>> crystals, read_labels = read_parquet(path)
    >>> len(crystals), bool((read_labels.energy == labels.energy).all())
    (3, True)
    """
    names = check_names("targets", targets)
    columns = check_names("columns", columns)
    pieces = list(iterate_parquet(source, names, columns=columns, labels=names is None))
    crystals = Crystals.concatenate([piece.crystals for piece in pieces])
    _warn_of_malformed(pieces)
    if names is not None:
        table = _target_table(pieces, names, crystals)
        return crystals, table[names[0]] if isinstance(targets, str) else table
    labels = join_labels([piece.labels for piece in pieces if piece.labels is not None])
    groups = labels.info.get("immutable_id")
    is_trajectory = groups is not None and len(set(groups.tolist())) < len(groups)
    check_labels(crystals, labels, _row_names(pieces), groups if is_trajectory else None)
    return crystals, labels


def _warn_of_malformed(pieces: Sequence[ParquetPiece]) -> None:
    n_null = sum(piece.n_malformed.get("ids", 0) for piece in pieces)
    if 0 < n_null < sum(len(piece.crystals) for piece in pieces):
        first = next(piece for piece in pieces if piece.n_malformed.get("ids"))
        warn_user(
            f"The id of {n_null} rows is null (the first is after row {first.first_row} of "
            f"{first.file}): the crystals have no ids. Fill the column immutable_id or id.",
            DataQualityWarning,
        )
    for name in ("forces", "stress_tensor"):
        count = sum(piece.n_malformed.get(name, 0) for piece in pieces)
        if count:
            first = next(piece for piece in pieces if piece.n_malformed.get(name))
            expected = "three numbers per atom" if name == "forces" else "a symmetric 3x3 matrix"
            warn_user(
                f"{name} is not {expected} in {count} rows (the first is after row "
                f"{first.first_row} of {first.file}); it is missing (NaN) in their labels.",
                DataQualityWarning,
            )


def _target_table(
    pieces: Sequence[ParquetPiece], names: Sequence[str], crystals: Crystals
) -> "pd.DataFrame":
    import pandas as pd

    columns = {name: join_arrays([piece.targets[name] for piece in pieces]) for name in names}
    return pd.DataFrame(columns, index=None if crystals.ids is None else crystals.ids)


def _row_names(pieces: Sequence[ParquetPiece]) -> Callable[[str, int], str]:
    starts = np.cumsum([0, *(len(piece.crystals) for piece in pieces)])

    def name(label: str, row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        piece = pieces[number]
        column = "stress_tensor" if label == "stress" else label
        return f"{column!r} of row {piece.first_row + row - int(starts[number])} of {piece.file}"

    return name
