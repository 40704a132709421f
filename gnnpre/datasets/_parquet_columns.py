"""Which columns of a Parquet file are read, and as what."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._column_units import check_unit
from ._parquet_types import check_types, describes_species, is_list, is_number
from ._stated_units import stated_quantity

__all__ = ["ATOM_COLUMNS", "UNITS", "Selection", "expected_units", "select_columns"]

#: Entry of the metadata of our own files, and of fields of others, that states units.
STATED_UNITS, FIELD_UNITS = b"gnnpre.units", (b"unit", b"units")
#: Units of LeMat's columns by quantity. Stress has VASP's sign: positive in compression.
UNITS = {"energy": "eV", "forces": "eV/angstrom", "stress": "kbar", "length": "angstrom"}
_QUANTITIES = {
    "energy": "energy",
    "forces": "forces",
    "stress_tensor": "stress",
    "lattice_vectors": "length",
    "cartesian_site_positions": "length",
}
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
    units: tuple[str, ...] = ()
    #: Whether ``species`` says which elements the names in ``species_at_sites`` are.
    species: bool = False

    @property
    def names(self) -> list[str]:
        """All columns, each once."""
        names = (*_GEOMETRY, *self.labels, *self.info, *self.targets, *self.atoms, *self.units)
        used = {"dimension_types": self.pbc, "species": self.species, self.ids: True}
        extra = [name for name, is_used in used.items() if name and is_used]
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
    if labels:
        _check_spelling(available, path)
    check_types(schema, path)
    _check_stated_units(schema, path, labels, targets or ())
    # 2. the columns to read; by default all that hold one value for each crystal
    ids = next((name for name in _IDS if name in available), None)
    atoms = _columns_of_atoms(schema, columns or ()) if labels else []
    info = _plain_columns(schema, targets or ()) if columns is None else columns
    return Selection(
        labels=tuple(
            name
            for name in _LABELS
            if labels and name in available and not pa.types.is_null(schema.field(name).type)
        ),
        ids=ids,
        pbc="dimension_types" in available,
        info=tuple(name for name in info if name not in atoms),
        targets=tuple(targets or ()),
        atoms=tuple(atoms),
        units=tuple(
            field.name
            for field in schema
            if not pa.types.is_nested(field.type) and stated_quantity(field.name) is not None
        ),
        species=describes_species(schema),
    )


def _plain_columns(schema: Any, targets: Sequence[str]) -> list[str]:
    """Return the columns that hold one value for each crystal and have no meaning of their own."""
    import pyarrow as pa

    return [
        field.name
        for field in schema
        if not pa.types.is_nested(field.type) and field.name not in {*_SKIPPED, "energy", *targets}
    ]


def _check_spelling(available: Sequence[str], path: Path) -> None:
    """Check that no column of labels has its name in other letters: its labels would be missing."""
    folded = {name.casefold(): name for name in available}
    for name in _LABELS:
        if name not in available and name in folded:
            raise ValueError(
                f"{path} has a column {folded[name]!r}; expected {name!r}, in lower case. Rename "
                "it."
            )


def expected_units(labels: bool, targets: Sequence[str]) -> dict[str, str]:
    """Return the units of the quantities that are read: of lengths, and of labels or targets."""
    if labels:
        return dict(UNITS)
    quantities = {"length", *(_QUANTITIES[name] for name in targets if name in _QUANTITIES)}
    return {quantity: UNITS[quantity] for quantity in UNITS if quantity in quantities}


def _check_stated_units(schema: Any, path: Path, labels: bool, targets: Sequence[str]) -> None:
    """Check the units that a file states in its metadata, or in that of a column."""
    expected = expected_units(labels, targets)
    try:
        stated = dict(json.loads((schema.metadata or {}).get(STATED_UNITS, b"{}")))
    except (TypeError, ValueError):  # another program's metadata under this name
        stated = {}
    for name, quantity in _QUANTITIES.items():
        if name not in schema.names:
            continue
        metadata = schema.field(name).metadata or {}
        texts = [metadata[key].decode("utf-8", "replace") for key in FIELD_UNITS if key in metadata]
        if isinstance(stated.get(name), str):
            # Our own entries say more behind a comma: that vectors are rows, and the sign.
            unit, _, remark = stated[name].partition(",")
            texts.append(unit)
            if labels and quantity == "stress" and "tension" in remark:
                raise ValueError(
                    f"{path}: its metadata states a stress_tensor that is{remark}; expected one "
                    "positive in compression, as VASP and LeMat-Bulk have it. Change its sign."
                )
        for text in texts:
            check_unit(text, quantity, expected, f"{path}: the metadata of column {name!r}")


def _columns_of_atoms(schema: Any, columns: Sequence[str]) -> list[str]:
    """Return the columns of one number per atom: those of our own files, and those asked for."""
    stated = (schema.metadata or {}).get(ATOM_COLUMNS, b"[]")
    try:
        own_names = [str(name) for name in json.loads(stated)]
    except (TypeError, ValueError):  # another program's metadata under this name
        own_names = []
    return [
        field.name
        for field in schema
        if field.name in {*own_names, *columns}
        and is_list(field.type)
        and is_number(field.type.value_type)
    ]
