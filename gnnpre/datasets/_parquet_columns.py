"""Which columns of a Parquet file are read, and as what."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._parquet_types import check_types

__all__ = ["ATOM_COLUMNS", "Selection", "select_columns"]

#: Entry of the metadata of our own files that names the columns of atoms.
ATOM_COLUMNS = b"gnnpre.atom_info"
_GEOMETRY = ("species_at_sites", "lattice_vectors", "cartesian_site_positions")
_LABELS = ("energy", "forces", "stress_tensor")
_IDS = ("immutable_id", "id")
# Scalars that repeat the structure or hold JSON: not read unless asked for.
_SKIPPED = {"nsites", "nelements", "nperiodic_dimensions", "species", "last_modified"}


@dataclass(frozen=True)
class Selection:
    """Columns of a file to read, by their use."""

    labels: tuple[str, ...]
    ids: str | None
    pbc: bool
    info: tuple[str, ...]
    targets: tuple[str, ...]
    atoms: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All columns, each once."""
        names = (*_GEOMETRY, *self.labels, *self.info, *self.targets, *self.atoms)
        extra = [name for name in (self.ids, "dimension_types" if self.pbc else None) if name]
        return list(dict.fromkeys([*names, *extra]))


def select_columns(
    schema: Any,
    path: Path,
    targets: Sequence[str] | None,
    columns: Sequence[str] | None,
    labels: bool,
) -> Selection:
    """Choose the columns to read from a file; raise ValueError for one that it lacks."""
    import pyarrow as pa

    available = schema.names
    # 1. names that pyarrow could not tell apart, or that are missing
    repeated = sorted({name for name in available if available.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{path} has several columns named {', '.join(map(repr, repeated))}; expected names "
            "that differ."
        )
    missing = [
        name for name in (*_GEOMETRY, *(targets or ()), *(columns or ())) if name not in available
    ]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing))}; it has {available}. A table "
            "with structures as CIF text or dictionaries is read with pandas.read_parquet and "
            "read_structures."
        )
    check_types(schema, path)
    # 2. the columns to read; by default all that hold one value for each crystal
    ids = next((name for name in _IDS if name in available), None)
    atoms = _columns_of_atoms(schema, columns or ()) if labels else []
    if columns is not None:
        columns = [name for name in columns if name not in atoms]
    else:
        columns = [
            field.name
            for field in schema
            if not pa.types.is_nested(field.type)
            and field.name not in {*_SKIPPED, "energy"}
            and field.name not in (targets or ())
        ]
    return Selection(
        labels=tuple(
            name
            for name in _LABELS
            if labels and name in available and not pa.types.is_null(schema.field(name).type)
        ),
        ids=ids,
        pbc="dimension_types" in available,
        info=tuple(columns),
        targets=tuple(targets or ()),
        atoms=tuple(atoms),
    )


def _columns_of_atoms(schema: Any, columns: Sequence[str]) -> list[str]:
    """Return the columns of one number per atom: those of our own files, and those asked for."""
    import pyarrow as pa

    stated = (schema.metadata or {}).get(ATOM_COLUMNS, b"[]")
    try:
        own_names = [str(name) for name in json.loads(stated)]
    except (TypeError, ValueError):  # another program's metadata under this name
        own_names = []
    return [
        field.name
        for field in schema
        if field.name in {*own_names, *columns}
        and pa.types.is_list(field.type)
        and pa.types.is_floating(field.type.value_type)
    ]
