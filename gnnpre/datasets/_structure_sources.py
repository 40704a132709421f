"""Files of structures in folders, patterns, lists and archives."""

import glob
import os
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any, NamedTuple

from ._file_formats import READ_ERRORS
from ._parameters import check_paths
from ._structure_files import STRUCTURE_SUFFIXES, is_structure_file, plain_name

__all__ = ["SourceFile", "source_files"]

# Archives that unpack to more than this size and ratio are decompression bombs.
_LARGEST_UNPACKED = 2**30
_LARGEST_RATIO = 200


class SourceFile(NamedTuple):
    """A file to read, its id, and its name in messages."""

    path: Path
    id: str
    name: str


@contextmanager
def source_files(source: Any) -> Iterator[list[SourceFile]]:
    """Yield the files of structures of a source.

    Parameters
    ----------
    source : str, path-like or iterable of them
        A folder (with its subfolders), a pattern such as ``"cifs/*.cif"``, a file, a list of
        files, or a zip or tar archive, which is unpacked while the block runs.

    Yields
    ------
    list of SourceFile
        In the order of their names, or of the list.

    Raises
    ------
    ValueError
        If there are none, or an archive is damaged or hostile.
    FileNotFoundError
        If there is no such file or folder.
    """
    if not isinstance(source, (str, os.PathLike)):
        yield _listed(check_paths("source", source))
        return
    # A folder, an archive, a file, or a pattern.
    path = Path(source)
    if path.is_dir():
        yield _in_folder(path, str(path))
    elif path.is_file() and _is_archive(path):
        with TemporaryDirectory(prefix="gnnpre-archive-") as folder:
            _unpack(path, Path(folder))
            yield _in_folder(Path(folder), f"{path}:")
    elif path.is_file():
        yield [SourceFile(path, _file_id(path, path.parent), str(path))]
    elif glob.has_magic(str(source)):
        yield _listed(sorted(glob.glob(str(source), recursive=True)), str(source))
    else:
        raise FileNotFoundError(f"There is no file or folder {path}.")


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except READ_ERRORS:  # a truncated one
        return ".tar" in path.name or path.name.endswith(".tgz")


def _listed(paths: Iterable[Any], pattern: str = "the list") -> list[SourceFile]:
    files = [Path(path) for path in paths]
    if not files:
        raise ValueError(f"There are no files in {pattern}.")
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"There is no file {file}.")
    root = Path(os.path.commonpath([file.absolute().parent for file in files]))
    return [SourceFile(file, _file_id(file.absolute(), root), str(file)) for file in files]


def _in_folder(folder: Path, shown: str) -> list[SourceFile]:
    # Hidden files, such as those of macOS beside an archive's own, are not structures.
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and is_structure_file(path)
    )
    if not files:
        raise ValueError(
            f"There are no files of structures in {shown}: names should end in "
            f"{', '.join(STRUCTURE_SUFFIXES)}, or begin with POSCAR or CONTCAR."
        )
    separator = "" if shown.endswith(":") else os.sep
    return [
        SourceFile(
            path, _file_id(path, folder), f"{shown}{separator}{path.relative_to(folder).as_posix()}"
        )
        for path in files
    ]


def _file_id(path: Path, root: Path) -> str:
    """Return the path below ``root`` without suffix; the folder's of a file named POSCAR."""
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    name = plain_name(path)
    for suffix in STRUCTURE_SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    if name.upper() in {"POSCAR", "CONTCAR"} and relative.parent != Path("."):
        return relative.parent.as_posix()
    return (relative.parent / name).as_posix()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of structures of an archive, each within the folder."""
    n_allowed = max(_LARGEST_UNPACKED, _LARGEST_RATIO * archive.stat().st_size)
    try:
        for name, stream in _members(archive):
            steps = PurePosixPath(name.replace("\\", "/")).parts
            if not is_structure_file(Path(steps[-1])) or any(
                step.startswith(".") for step in steps
            ):
                continue
            if PurePosixPath(name).is_absolute():
                raise ValueError(f"{archive} has a member with the absolute name {name!r}.")
            target = folder.joinpath(*steps)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                while chunk := stream.read(2**20):
                    n_allowed -= len(chunk)
                    if n_allowed < 0:
                        raise ValueError(
                            f"{archive} unpacks to more than {_LARGEST_RATIO} times its size, "
                            "which no data of crystals does. If you trust it, unpack it first."
                        )
                    file.write(chunk)
    except (*READ_ERRORS, zipfile.BadZipFile, tarfile.TarError, NotImplementedError) as error:
        raise ValueError(
            f"{archive} cannot be unpacked ({error}): it is truncated or damaged."
        ) from error
    except RuntimeError as error:  # an encrypted zip
        raise ValueError(f"{archive} cannot be unpacked: {error}.") from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each regular file; links are left out."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if not member.is_dir():
                    with file.open(member) as stream:
                        yield member.filename, stream
        return
    with tarfile.open(archive) as tar:
        for item in tar:
            content = tar.extractfile(item) if item.isreg() else None
            if content is not None:
                yield item.name, content
