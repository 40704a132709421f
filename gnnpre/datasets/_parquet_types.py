"""Types of the columns of Parquet files that have a fixed meaning."""

from pathlib import Path
from typing import Any

__all__ = ["check_types", "describes_species", "is_list", "is_number"]

_MAY_BE_NULL = ("energy", "forces", "stress_tensor")


def check_types(schema: Any, path: Path) -> None:
    """Check the types of the columns that have a fixed meaning; energy and others may be null."""
    checks = {
        "species_at_sites": (_is_text, 1, "lists of symbols"),
        "lattice_vectors": (is_number, 2, "lists of lists of numbers"),
        "cartesian_site_positions": (is_number, 2, "lists of lists of numbers"),
        "dimension_types": (is_number, 1, "lists of 0 and 1"),
        "energy": (is_number, 0, "numbers"),
        "forces": (is_number, 2, "lists of lists of numbers"),
        "stress_tensor": (is_number, 2, "lists of lists of numbers"),
    }
    for name, (is_item, depth, expected) in checks.items():
        if name not in schema.names:
            continue
        # Down the nested lists to the type of their items.
        item, levels = schema.field(name).type, depth
        while levels and is_list(item):
            item, levels = item.value_type, levels - 1
        is_missing = name in _MAY_BE_NULL and str(item) == "null"
        if not is_missing and (levels or not is_item(item)):
            raise ValueError(
                f"Column {name!r} of {path} has the type {schema.field(name).type}; expected "
                f"{expected}."
            )


def describes_species(schema: Any) -> bool:
    """Return whether a file has OPTIMADE's column ``species``, not as text as LeMat has it."""
    import pyarrow as pa

    if "species" not in schema.names:
        return False
    arrow_type = schema.field("species").type
    item = arrow_type.value_type if is_list(arrow_type) else arrow_type
    names = [field.name for field in item] if pa.types.is_struct(item) else []
    return {"name", "chemical_symbols"} <= set(names)


def is_list(arrow_type: Any) -> bool:
    """Return whether the values of a column are lists."""
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_list(arrow_type)
        or types.is_large_list(arrow_type)
        or types.is_fixed_size_list(arrow_type)
    )


def is_number(arrow_type: Any) -> bool:
    """Return whether the values of a column are integers or floating-point numbers."""
    import pyarrow as pa

    return bool(pa.types.is_floating(arrow_type) or pa.types.is_integer(arrow_type))


def _is_text(arrow_type: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type))
