"""Attack: Parquet and aselmdb files, and JSON of MatPES, MPtrj and Alexandria, with damage."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gnnpre.datasets import (
    read_alexandria,
    read_aselmdb,
    read_matpes,
    read_mptrj,
    read_parquet,
    to_parquet,
)
from gnnpre.graphs import Crystals

from .shared import Shared
from .values import JSON_VALUES, compress, damage_bytes, damage_json, pick, to_json

FORCES = [[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]]


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose a format, and damage a file of it."""
    attack = pick(rng, [_parquet, _parquet, _aselmdb, _aselmdb, _matpes, _mptrj, _alexandria])
    return attack(rng, folder, shared)


def _read(reader: Callable[..., Any], path: Path, **options: Any) -> Callable[[], Any]:
    """Return the reading of a file; missing labels are NaN, so that crystals alone are judged."""

    def read() -> Any:
        crystals, _ = reader(path, **options)
        return [crystals.positions, crystals.cell]

    return read


# Parquet


def _parquet(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    path = folder / "frames.parquet"
    structures, labels = shared.frames
    to_parquet(path, Crystals.from_structures(structures), labels, targets={"K": labels.energy})
    if rng.random() < 0.4:
        change = "bytes damaged"
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
    else:
        change, table = _damage_table(rng, pq.read_table(path))
        pq.write_table(table, path)
    targets = pick(rng, [None, None, "K", ["K"], "nsites"])
    return f"read_parquet(targets={targets!r}), {change}", _read(
        read_parquet, path, targets=targets
    )


def _damage_table(rng: np.random.Generator, table: Any) -> tuple[str, Any]:
    """Change a column: its values, their type, its name, or whether it is there."""
    number = int(rng.integers(table.num_columns))
    name, column = table.column_names[number], table.column(number)
    action = pick(rng, ["drop", "rename", "type", "values", "values", "values", "twice", "rows"])
    if action == "drop":
        return f"{name} dropped", table.remove_column(number)
    if action == "rename":
        names = [*table.column_names]
        names[number] = pick(rng, ["energy", "", name.upper(), "nsites", "é"])
        return f"{name} renamed to {names[number]!r}", table.rename_columns(names)
    if action == "twice":
        return f"{name} twice", table.append_column(name, column)
    if action == "rows":
        return "no rows", table.slice(0, 0)
    values = column.to_pylist()
    if action == "type":
        change, changed = _other_type(rng, values)
    else:
        change, changed = damage_json(rng, values)
    try:
        changed = pa.array(changed)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Arrow cannot hold such values: as text it can.
        changed = pa.array([str(value)[:100] for value in values])
    if len(changed) != len(column):
        return f"{name}: {change}, alone", pa.table({name: changed})
    return f"{name}: {change}", table.set_column(number, name, changed)


def _other_type(rng: np.random.Generator, values: list[Any]) -> tuple[str, Any]:
    value = pick(
        rng, [None, "x", b"x", 1, -1.5, True, [], [[]], [None], [[None] * 3], {"a": 1}, [["a"]]]
    )
    if rng.random() < 0.3:
        return f"row 0 is {value!r}", [value, *[None] * (len(values) - 1)]
    return f"all rows are {value!r}", [value] * len(values)


# aselmdb


def _aselmdb(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    rows = [_row(number) for number in range(1, 6)]
    action = pick(rng, ["bytes", "bytes", "row", "row", "row", "packed", "lost", "deleted", "key"])
    packed = {b"%d" % number: _pack(row) for number, row in enumerate(rows, 1)}
    packed |= {b"nextid": _pack(6), b"metadata": _pack({"format": "x"})}
    change = action
    if action == "row":
        change, damaged = damage_json(rng, rows[2])
        packed[b"3"] = zlib.compress(to_json(damaged))
    elif action == "packed":
        packed[b"3"] = damage_bytes(rng, packed[b"3"])
    elif action == "lost":
        del packed[b"%d" % int(rng.integers(1, 6))]
    elif action == "deleted":
        values = [[1], [1, 1], [6], [-1], [1.5], "12", [[1]], {"a": 1}, 3, None, [1, 2, 3, 4, 5]]
        packed[b"deleted_ids"] = _pack(pick(rng, [*values, *JSON_VALUES]))
    elif action == "key":
        packed[pick(rng, [b"0", b"9" * 100, b"10", b"\xc2\xb2", b"x", b"-1"])] = packed[b"3"]
    path = folder / "data.aselmdb"
    _write_lmdb(path, packed)
    if action == "bytes":
        content = path.read_bytes().rstrip(b"\0")
        content += bytes(-len(content) % 4096)
        path.write_bytes(_damage_page(rng, content))
    index = pick(rng, [None, None, None, slice(2), slice(-1, None), slice(None, None, -1)])
    return f"read_aselmdb, {change}", _read(read_aselmdb, path, index=index)


def _write_lmdb(path: Path, content: dict[bytes, bytes]) -> None:
    with (
        lmdb.open(str(path), subdir=False, map_size=2**20, lock=False) as file,
        file.begin(write=True) as transaction,
    ):
        for key, value in content.items():
            transaction.put(key, value)


def _damage_page(rng: np.random.Generator, content: bytes) -> bytes:
    """Damage bytes anywhere, or overwrite one of the numbers at the head of a page."""
    if rng.random() < 0.5:
        return damage_bytes(rng, content)
    damaged = bytearray(content)
    position = 4096 * int(rng.integers(len(content) // 4096)) + 2 * int(rng.integers(80))
    value = pick(rng, [0, 1, 2, 255, 4095, 4096, 65535])
    damaged[position : position + 2] = value.to_bytes(2, "little")
    return bytes(damaged)


def _array(values: Any, dtype: str = "float64") -> dict[str, Any]:
    values = np.asarray(values)
    return {"__ndarray__": [list(values.shape), dtype, values.ravel().tolist()]}


def _row(number: int) -> dict[str, Any]:
    return {
        "numbers": _array([11, 17], "int64"),
        "positions": _array([[0.0, 0.0, 0.0], [2.5, 2.5, 2.5]]),
        "cell": _array(5.0 * np.eye(3)),
        "pbc": _array([True, True, True], "bool"),
        "energy": -float(number),
        "forces": _array(FORCES),
        "stress": _array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]),
        "unique_id": f"id{number}",
        "key_value_pairs": {"material": f"mp-{number}"},
        "data": {"step": number, "details": _array([1.0, 2.0])},
    }


def _pack(content: Any) -> bytes:
    return zlib.compress(json.dumps(content).encode())


# JSON


def _matpes(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    record = {
        "structure": _salt(shared),
        "energy": -6.5,
        "forces": FORCES,
        "stress": [16.0, 32.0, 48.0, 1.0, 2.0, 3.0],
        "functional": "PBE",
        "bandgap": 1.5,
    }
    tree = [
        {**record, "matpes_id": f"m-{number}", "provenance": {"original_mp_id": f"mp-{number}"}}
        for number in range(2)
    ]
    return _json(rng, folder, tree, read_matpes)


def _mptrj(rng: np.random.Generator, folder: Path, shared: Shared) -> tuple[str, Callable[[], Any]]:
    frame = {
        "structure": _salt(shared),
        "uncorrected_total_energy": -6.5,
        "corrected_total_energy": -7.0,
        "energy_per_atom": -3.5,
        "force": FORCES,
        "stress": [[16.0, 0.0, 0.0], [0.0, 32.0, 0.0], [0.0, 0.0, 48.0]],
        "bandgap": 1.5,
        "mp_id": "mp-1",
    }
    tree = {"mp-1": {"mp-1-0-0": frame, "mp-1-0-1": frame}, "mp-2": {"mp-2-0-0": frame}}
    return _json(rng, folder, tree, read_mptrj)


def _alexandria(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    if rng.random() < 0.5:
        structure = _salt(shared)
        data = {"mat_id": "agm1", "e_above_hull": 0.1, "stress": np.eye(3).tolist(), "spg": 225}
        tree: Any = {"entries": [{"energy": -6.5, "structure": structure, "data": data}] * 2}
    else:
        step = {"structure": _salt(shared), "energy": -6.5, "forces": FORCES}
        step["stress"] = np.eye(3).tolist()
        tree = {"agm1": [{"functional": "pbe", "steps": [step, step]}]}
    stress = pick(rng, ["auto", "vasp", "skip"])
    return _json(rng, folder, tree, read_alexandria, stress=stress)


def _salt(shared: Shared) -> Any:
    """Return the dictionary of a structure of two atoms."""
    structure = next(crystal for crystal in shared.crystals[0] if len(crystal) == 2)
    return json.loads(structure.to_json())


def _json(
    rng: np.random.Generator,
    folder: Path,
    tree: Any,
    reader: Callable[..., Any],
    **options: Any,
) -> tuple[str, Callable[[], Any]]:
    if rng.random() < 0.3:
        change, content = "bytes damaged", damage_bytes(rng, to_json(tree))
    else:
        change, changed = damage_json(rng, tree)
        content = to_json(changed)
    name, content = compress(rng, "frames.json", content)
    path = folder / name
    path.write_bytes(content)
    return f"{reader.__name__}({options}), {change}", _read(reader, path, **options)
