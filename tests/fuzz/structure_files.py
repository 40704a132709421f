"""Attack: folders, archives, lists and tables of structures, with damage."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from pymatgen.core import Lattice, Structure

from gnnpre.datasets import read_structures

from .shared import Shared
from .values import compress, damage_bytes, damage_json, pick, strange_value, to_json

#: Words that replace one of a CIF or POSCAR file.
WORDS = [
    "", "-1", "0", "nan", "inf", "1e400", "9" * 400, "Xx", "D", "?", ".", "'", '"', ";", "loop_",
    "data_", "_atom_site_fract_x", "#", "\x00", "é", "Cu0+", "0.5", "1(2)", "$", "1e9", "P 1",
    "x,y", "x,y,z", "-x,-y,-z+1/2", "direct", "selective",
]  # fmt: skip
NAMES = ["a.cif", "b.cif", "POSCAR", "c.vasp", "d.json", "e.extxyz", "f/POSCAR"]
BAD_NAMES = ["../x.cif", "/tmp/x.cif", "a/../../x.cif", "C:\\x.cif", " .cif", "é.cif", "\ud800.cif"]


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose a source of structures, and damage some of it."""
    attack = pick(rng, [_folder, _folder, _archive, _archive, _csv, _csv, _frame, _arguments])
    return attack(rng, folder, shared)


def _read(source: Any, **options: Any) -> Callable[[], Any]:
    def read() -> Any:
        crystals, *_ = read_structures(source, **options)
        return [crystals.positions, crystals.cell]

    return read


def _options(rng: np.random.Generator) -> dict[str, Any]:
    return {"errors": pick(rng, ["raise", "raise", "skip"])}


def _content(rng: np.random.Generator, name: str, shared: Shared) -> bytes:
    """Return the content of a file of structures by its name."""
    structure = pick(rng, shared.crystals[0])
    if name.endswith(".cif"):
        return str(structure.to(fmt="cif")).encode()
    if name.endswith(".json"):
        return structure.to_json().encode()
    if name.endswith(".extxyz"):
        lattice = " ".join(map(str, structure.lattice.matrix.ravel()))
        lines = [f"{site.specie} {site.x} {site.y} {site.z}" for site in structure]
        head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"'
        return "\n".join([str(len(lines)), head, *lines, ""]).encode()
    return str(structure.to(fmt="poscar")).encode()


def _damage(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    """Replace a word, drop or repeat a line, or damage bytes."""
    action = pick(rng, ["word", "word", "line", "repeat", "bytes"])
    if action == "bytes":
        return "bytes damaged", damage_bytes(rng, content)
    lines = content.decode("utf-8", "replace").split("\n")
    row = int(rng.integers(len(lines)))
    if action == "line":
        del lines[row]
    elif action == "repeat":
        lines[row:row] = [lines[row]] * int(rng.integers(1, 4))
    else:
        words = lines[row].split(" ")
        position, word = int(rng.integers(len(words))), pick(rng, WORDS)
        words[position] = word
        lines[row] = " ".join(words)
        action = f"word {position}: {word!r:.30}"
    return f"line {row}, {action}", "\n".join(lines).encode("utf-8", "replace")


def _files(rng: np.random.Generator, shared: Shared) -> tuple[str, dict[str, bytes]]:
    """Return three files of structures, one of them damaged."""
    names = rng.permutation(NAMES)[:3].tolist()
    files = {name: _content(rng, name, shared) for name in names}
    change, damaged = _damage(rng, files[names[0]])
    name, damaged = compress(rng, names[0], damaged)
    del files[names[0]]
    return f"{name}: {change}", {**files, name: damaged}


def _folder(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    change, files = _files(rng, shared)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    if rng.random() < 0.1:
        (folder / "g.cif").symlink_to(folder / "none.cif")
    source: Any = pick(rng, [folder, folder / "*.cif", [folder / name for name in files]])
    options = _options(rng)
    return f"folder {source!s:.30}, {options}, {change}", _read(source, **options)


def _archive(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    change, files = _files(rng, shared)
    if rng.random() < 0.2:
        # Archives hold bytes: a lone surrogate becomes "?".
        name = pick(rng, BAD_NAMES).encode("utf-8", "replace").decode()
        files[name] = _content(rng, "a.cif", shared)
        change += f", member {name!r}"
    buffer = io.BytesIO()
    suffix = pick(rng, [".zip", ".tar", ".tar.gz"])
    if suffix == ".zip":
        with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        mode: Any = "w:gz" if suffix == ".tar.gz" else "w"
        with tarfile.open(fileobj=buffer, mode=mode) as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            if rng.random() < 0.2:
                link = tarfile.TarInfo("h.cif")
                link.type, link.linkname = pick(rng, [(tarfile.SYMTYPE, "/etc/passwd")] * 2)
                tar.addfile(link)
    content = buffer.getvalue()
    if rng.random() < 0.4:
        content = damage_bytes(rng, content)
        change += ", archive damaged"
    path = folder / f"set{suffix}"
    path.write_bytes(content)
    options = _options(rng)
    return f"archive {suffix}, {options}, {change}", _read(path, **options)


def _csv(rng: np.random.Generator, folder: Path, shared: Shared) -> tuple[str, Callable[[], Any]]:
    names = ["a.cif", "b.cif", "c.vasp"]
    for name in names:
        (folder / name).write_bytes(_content(rng, name, shared))
    if rng.random() < 0.5:
        table = pd.DataFrame({"file": names, "K": [1.0, 2.0, 3.0], "id": ["x", "y", "z"]})
    else:
        cells = [_content(rng, name, shared).decode() for name in names]
        table = pd.DataFrame({"structure": cells, "K": [1.0, 2.0, 3.0], "id": ["x", "y", "z"]})
    change, content = _damage(rng, table.to_csv(index=False).encode())
    name, content = compress(rng, "table.csv", content)
    (folder / name).write_bytes(content)
    options = _options(rng) | {
        "targets": pick(rng, [None, "K", ["K"], "M"]),
        "id_column": pick(rng, [None, "id", "K"]),
    }
    return f"table, {options}, {change}", _read(folder / name, **options)


def _frame(rng: np.random.Generator, folder: Path, shared: Shared) -> tuple[str, Callable[[], Any]]:
    crystals = shared.crystals[0]
    change, damaged = damage_json(rng, crystals[0].as_dict())
    cells = [
        damaged,
        to_json(damaged).decode("utf-8", "replace"),
        strange_value(rng),
        Atoms("Cu", cell=[3, 3, 3], pbc=True),
        Structure(Lattice.cubic(3.0), [{"Cu": 0.5}], [[0, 0, 0]]),
        _damage(rng, _content(rng, "a.cif", shared))[1].decode("utf-8", "replace"),
    ]
    column: Any = np.empty(4, dtype=object)
    chosen = [crystals[1], crystals[2].as_dict(), pick(rng, cells), pick(rng, cells)]
    for row, cell in enumerate(chosen):  # at once, an array among them would be broadcast
        column[row] = cell
    table = pd.DataFrame({"structure": column, "K": [1.0, None, 3.0, 4.0]})
    table.index = pick(rng, [[0, 1, 2, 3], [1, 1, 1, 1], list("abcd"), [None] * 4])
    options = _options(rng)
    return f"DataFrame, {options}, {change}, {column[2]!r:.60} {column[3]!r:.60}", _read(
        table, **options
    )


def _arguments(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    arguments: dict[str, Any] = {
        "source": pd.DataFrame({"structure": shared.crystals[0], "K": shared.crystals[1]}),
        "targets": None,
        "id_column": None,
        "n_jobs": None,
        "errors": "raise",
        "structure_column": None,
    }
    name, value = pick(rng, list(arguments)), strange_value(rng)
    arguments[name] = value
    return f"read_structures({name}={value!r:.100})", _read(**arguments)
