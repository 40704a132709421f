"""Files of a study: MatBench's tables by name, all others by path."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gnnpre.datasets import files_of_table

from ..declare._paths import FRAME_SUFFIXES, TABLE_SUFFIXES, expand_path, is_path

__all__ = [
    "MATBENCH",
    "MatbenchTable",
    "find_home",
    "find_matbench",
    "hash_content",
    "hash_file",
    "source_files",
]


class MatbenchTable(NamedTuple):
    """A regression of MatBench v0.1 on structures."""

    n_rows: int
    unit: str


#: Number of rows and unit of the target, as https://matbench.materialsproject.org lists them.
MATBENCH = {
    "dielectric": MatbenchTable(4764, ""),
    "jdft2d": MatbenchTable(636, "meV/atom"),
    "log_gvrh": MatbenchTable(10987, "log10 GPa"),
    "log_kvrh": MatbenchTable(10987, "log10 GPa"),
    "mp_e_form": MatbenchTable(132752, "eV/atom"),
    "mp_gap": MatbenchTable(106113, "eV"),
    "perovskites": MatbenchTable(18928, "eV/cell"),
    "phonons": MatbenchTable(1265, "1/cm"),
}
# Folders of a data home that may hold MatBench's tables.
SUBFOLDERS = ("", "downstream")


def find_home(data_home: str | Path | None) -> Path | None:
    """Return the folder of the user's files: the argument, or else that of ``GNNPRE_DATA``."""
    home = data_home or os.environ.get("GNNPRE_DATA")
    return Path(home).expanduser() if home else None


def find_matbench(name: str, home: Path | None) -> Path:
    """Return the file of a MatBench table, from the data home or else downloaded to the cache."""
    from gnnpre.datasets import matbench_file

    for folder in SUBFOLDERS if home is not None else ():
        for file in (f"matbench_{name}.json.gz", f"{name}.json.gz"):
            path = Path(home or "", folder, file)
            if path.is_file():
                return path
    return matbench_file(name)


def source_files(source: str, home: Path | None) -> list[Path]:
    """Return the files of a source of crystals, which have to exist."""
    if source in MATBENCH:
        return [find_matbench(source, home)]
    if not is_path(source):
        raise ValueError(
            f"sources has {source!r}; expected the path of a file, or a table of MatBench: "
            f"{', '.join(MATBENCH)}."
        )
    path = expand_path("an item of sources", source)
    if not path.name.lower().endswith((*FRAME_SUFFIXES, *TABLE_SUFFIXES)):
        endings = ", ".join((*FRAME_SUFFIXES, *TABLE_SUFFIXES))
        raise ValueError(f"sources has {source!r}; expected a file that ends in {endings}.")
    if not path.is_file():
        raise FileNotFoundError(f"sources has {source!r}, but there is no file {path}.")
    return [path]


def hash_content(path: Path) -> str:
    """Return the SHA-256 of a file; of a CSV file with those of the files that its rows name."""
    files = files_of_table(path) if path.name.lower().endswith((".csv", ".csv.gz", ".tsv")) else []
    if not files:
        return hash_file(path)
    digest = hashlib.sha256("".join(map(hash_file, [path, *files])).encode())
    return digest.hexdigest()


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    stat = Path(path).stat()
    return _hash_file(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=65536)
def _hash_file(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
