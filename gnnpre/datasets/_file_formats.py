"""Which format a file has, by its first bytes and its name, and opening it."""

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TextIO, cast

__all__ = [
    "READ_ERRORS",
    "UNREAD_SUFFIXES",
    "detect_format",
    "open_bytes",
    "open_text",
    "other_reader",
    "read_bounded",
    "unpacked",
]

# What reading a truncated or damaged file raises.
READ_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, UnicodeDecodeError)
_COMPRESSIONS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_SUFFIXES = (".gz", ".bz2", ".xz")
_HEAD = 2**16  # bytes: a record of MatPES takes up to 20,000
# Text that unpacks to more than this size and ratio is a decompression bomb: real files of
# structures reach a ratio of 5 to 30.
_LARGEST_UNPACKED = 2**28
_LARGEST_RATIO = 200
#: Suffixes of compressions and archives that are not opened within a folder or an archive.
_UNREAD_COMPRESSIONS = (".zst", ".lzma", ".lz4", ".z", ".br")
UNREAD_SUFFIXES = (*_UNREAD_COMPRESSIONS, ".7z", ".rar", ".zip", ".tar", ".tgz")
_LMDB_MAGIC = b"\xde\xc0\xef\xbe"  # at byte 16, behind the header of the first page

_BINARY = {
    b"- of UlmASE-Trajectory": "traj",
    b"SQLite format 3": "db",
    b"PAR1": "parquet",
    b"\x89HDF": "hdf5",
    b"PK\x03\x04": "zip",
    b"\x80": "pickle",
}
_READERS = {
    "parquet": "a Parquet file: read it with gnnpre.datasets.read_parquet",
    "aselmdb": "an LMDB file of ASE: read it with gnnpre.datasets.read_aselmdb",
    "zip": "a zip archive: read it with gnnpre.datasets.read_structures",
    "tar": "a tar archive: read it with gnnpre.datasets.read_structures",
    "cif": "a CIF file, which has no labels: read it with gnnpre.datasets.read_structures",
    "vasp": "a POSCAR file, which has no labels: read it with gnnpre.datasets.read_structures",
    "pymatgen-json": "JSON of pymatgen: read it with gnnpre.datasets.read_structures",
    "matbench": "a table in MatBench's format: read it with gnnpre.datasets.read_matbench",
    "matpes": "a file of MatPES: read it with gnnpre.datasets.read_matpes",
    "mptrj": "a file of MPtrj: read it with gnnpre.datasets.read_mptrj",
    "alexandria": "a file of Alexandria: read it with gnnpre.datasets.read_alexandria",
    "hdf5": "an HDF5 file, which gnnpre does not read: write extended XYZ or Parquet from it",
    "pickle": "a pickle, which gnnpre does not read because it can run code: write extended XYZ "
    "or Parquet from it",
}


def detect_format(path: Path) -> str:
    """Return the format of a file.

    Parameters
    ----------
    path : Path
        The file, compressed or not.

    Returns
    -------
    str
        ``"extxyz"``, the name of a format of ASE (``"traj"``, ``"db"``, ``"vasp-xml"``, ...), or
        a key of those formats that another reader of this package reads, such as ``"parquet"``.

    Raises
    ------
    ValueError
        If no format is recognised; the message says which are read.
    """
    if path.is_dir():
        raise ValueError(
            f"{path} is a folder: read its structures with gnnpre.datasets.read_structures, or its "
            "aselmdb files with gnnpre.datasets.read_aselmdb."
        )
    try:
        with open_bytes(path) as stream:
            head = stream.read(_HEAD)
    except READ_ERRORS as error:
        if isinstance(error, (FileNotFoundError, PermissionError)):
            raise
        raise ValueError(
            f"{path} cannot be read ({error}): it is truncated or damaged; get the file anew."
        ) from error
    # By content first; names lie, and some formats have none.
    name = path.name.lower()
    if name.endswith(_UNREAD_COMPRESSIONS):
        raise ValueError(
            f"{path} is compressed in a way that is not read: uncompress it, or compress it with "
            "gzip, bzip2 or xz."
        )
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path} is text in UTF-16: save it as UTF-8.")
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    file_format = _binary_format(head) or _text_format(head, name) or _format_of_ase(path)
    if file_format is None:
        raise ValueError(
            f"{path} has no format that is recognised (it begins with {head[:40]!r}). Formats are "
            "extended XYZ, ASE's trajectories and databases, vasprun.xml and OUTCAR; read_frames "
            "takes format= for any other that ASE reads."
        )
    return file_format


def other_reader(file_format: str) -> str | None:
    """Return which function reads a format that is not one of labelled frames, if it is none."""
    return _READERS.get(file_format)


def _binary_format(head: bytes) -> str | None:
    if head[16:20] == _LMDB_MAGIC:
        return "aselmdb"
    if head[257:262] == b"ustar":
        return "tar"
    return next((name for magic, name in _BINARY.items() if head.startswith(magic)), None)


def _text_format(head: bytes, name: str) -> str | None:
    # Editors on Windows begin a file with a byte-order mark.
    lines = head.decode("utf-8", "replace").lstrip("\ufeff").lstrip().split("\n")
    first = lines[0].strip()
    # POSCAR first: its comment line may look like any of the others.
    if _is_poscar(lines, name):
        return "vasp"
    # The number of atoms alone on the first line.
    if first.isascii() and first.isdigit():
        return "extxyz"
    if first[:1] in {"{", "["}:
        return _json_format(head)
    if first.startswith("<") and ("<modeling>" in head.decode("utf-8", "replace")):
        return "vasp-xml"
    if re.match(r"vasp\.\d", first):
        return "vasp-out"
    # CIF may begin with comments, so its tags are searched in all of the head.
    if name.endswith((".cif", ".mcif")) or re.search(rb"(?m)^\s*(data_|_cell_length_a)", head):
        return "cif"
    return "extxyz" if name.endswith((".xyz", ".extxyz")) else None


def _is_poscar(lines: list[str], name: str) -> bool:
    """Whether line 2 is a scale and lines 3 to 5 are vectors, as in POSCAR and CONTCAR."""
    if len(lines) < 5:
        return False
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    has_scale = re.fullmatch(rf"\s*{number}(?:\s+{number}\s+{number})?\s*", lines[1])
    vector = rf"\s*{number}\s+{number}\s+{number}\s*"
    return bool(has_scale) and all(re.fullmatch(vector, line) for line in lines[2:5])


def _json_format(head: bytes) -> str | None:
    marks = {
        b'"matpes_id"': "matpes",
        b'"cohesive_energy_per_atom"': "matpes",
        b'"uncorrected_total_energy"': "mptrj",
        b'"corrected_total_energy"': "mptrj",
        b'"entries"': "alexandria",
        b'"steps"': "alexandria",
        b'"columns"': "matbench",
        b'"unique_id"': "json",  # ASE's database
        b'"@module"': "pymatgen-json",
        b'"lattice"': "pymatgen-json",
    }
    return next((name for mark, name in marks.items() if mark in head), None)


def _format_of_ase(path: Path) -> str | None:
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return str(filetype(str(path), read=True, guess=False))
    except (UnknownFileTypeError, OSError, UnicodeDecodeError):
        return None


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, uncompressing gzip, bzip2 or xz, which its first bytes tell."""
    with path.open("rb") as stream:
        head = stream.read(6)
    for magic, opener in _COMPRESSIONS.items():
        if head.startswith(magic):
            return cast(BinaryIO, opener(path, "rb"))
    return path.open("rb")


def open_text(path: Path) -> TextIO:
    """Open a text file as UTF-8, with or without a byte-order mark, uncompressing it."""
    with path.open("rb") as stream:
        head = stream.read(6)
    for magic, opener in _COMPRESSIONS.items():
        if head.startswith(magic):
            return cast(TextIO, opener(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig")


def read_bounded(path: Path) -> bytes:
    """Return the uncompressed content of a file, unless it is a decompression bomb.

    Parameters
    ----------
    path : Path
        The file, compressed or not.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    ValueError
        If the file is damaged, or unpacks to hundreds of times its size.
    """
    chunks, size = [], 0
    # Bounded while reading: the size that an archive states may be a lie.
    most = max(_LARGEST_UNPACKED, _LARGEST_RATIO * path.stat().st_size)
    try:
        with open_bytes(path) as stream:
            while chunk := stream.read(2**22):
                size += len(chunk)
                if size > most:
                    raise ValueError(
                        f"{path} unpacks to more than {_LARGEST_RATIO} times its size "
                        f"({size} bytes and more), which no data of crystals does. If you trust "
                        "it, uncompress it first."
                    )
                chunks.append(chunk)
    except READ_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is truncated or damaged ({error}); get the file anew.") from error
    return b"".join(chunks)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield the path of the uncompressed file, for readers that need a plain one."""
    with path.open("rb") as stream:
        head = stream.read(6)
    if not any(head.startswith(magic) for magic in _COMPRESSIONS):
        yield path
        return
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    with TemporaryDirectory(prefix="gnnpre-unpacked-") as folder:
        plain = Path(folder) / name
        plain.write_bytes(read_bounded(path))
        yield plain
