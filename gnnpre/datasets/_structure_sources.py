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

from gnnpre._atomic import FULL_DISK
from gnnpre._warnings import DataQualityWarning, warn_user

from ._file_formats import READ_ERRORS, UNREAD_SUFFIXES
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
    elif path.is_file() and _is_truncated_zip(path):
        raise ValueError(f"{path} is a zip archive that is truncated or damaged; get it anew.")
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


def _is_truncated_zip(path: Path) -> bool:
    """Return whether a file begins as a zip archive, but lacks the directory at its end."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path)


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
    paths = sorted(_walk(folder))
    files = [path for path in paths if is_structure_file(path)]
    unread = [path for path in paths if path.name.lower().endswith(UNREAD_SUFFIXES)]
    if not files:
        packed = f" It holds {unread[0].name}, which has to be unpacked first." if unread else ""
        raise ValueError(
            f"There are no files of structures in {shown.removesuffix(':')}: names should end in "
            f"{', '.join(STRUCTURE_SUFFIXES)}, or begin with POSCAR or CONTCAR.{packed}"
        )
    if unread:
        warn_user(
            f"{shown.removesuffix(':')} holds {len(unread)} archives or compressed files that are "
            f"not read, {unread[0].relative_to(folder).as_posix()} first: structures in them are "
            "missing. Unpack them.",
            DataQualityWarning,
        )
    separator = "" if shown.endswith(":") else os.sep
    return [
        SourceFile(
            path, _file_id(path, folder), f"{shown}{separator}{path.relative_to(folder).as_posix()}"
        )
        for path in files
    ]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, those behind links too, each folder once."""
    seen = set()
    for name, subfolders, files in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        status = os.stat(name)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder around it
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()
        # Hidden files, such as those of macOS beside an archive's own, are not structures.
        yield from (Path(name, file) for file in files if not file.startswith("."))


def _refuse_folder(error: OSError) -> None:
    """Raise an error for a folder that cannot be listed: its structures would be missing."""
    raise PermissionError(
        f"{error.filename} cannot be listed ({error.strerror}): its structures would be missing. "
        "Change its permissions, or pass a list of files."
    ) from error


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
            target = _target(archive, folder, name)
            if target is None:
                continue
            with target.open("wb") as file:
                # Of what is not read the name is enough: it is reported with those of folders.
                while is_structure_file(target) and (chunk := stream.read(2**20)):
                    n_allowed -= len(chunk)
                    if n_allowed < 0:
                        raise ValueError(
                            f"{archive} unpacks to more than {_LARGEST_RATIO} times its size, "
                            "which no data of crystals does. If you trust it, unpack it first."
                        )
                    file.write(chunk)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise _damaged(archive, error) from error
        raise OSError(
            error.errno,
            f"The disk of {folder.parent} is full: {archive} is unpacked there. Free some space, "
            "or name another folder in the environment variable TMPDIR.",
        ) from error
    except (*READ_ERRORS, zipfile.BadZipFile, tarfile.TarError, NotImplementedError) as error:
        raise _damaged(archive, error) from error
    except RuntimeError as error:  # an encrypted zip
        raise ValueError(f"{archive} cannot be unpacked: {error}.") from error


def _damaged(archive: Path, error: Exception) -> ValueError:
    return ValueError(f"{archive} cannot be unpacked ({error}): it is truncated or damaged.")


def _target(archive: Path, folder: Path, name: str) -> Path | None:
    """Return the path to unpack a member to; None for files of something else."""
    # Archives made on Windows may separate folders by backslashes.
    steps = PurePosixPath(name.replace("\\", "/")).parts
    if not steps or any(step.startswith(".") for step in steps):
        return None
    is_unread = steps[-1].lower().endswith(UNREAD_SUFFIXES)
    if not (is_unread or is_structure_file(Path(steps[-1]))):
        return None
    if steps[0] == "/":
        raise ValueError(f"{archive} has a member with the absolute name {name!r}.")
    target = folder.joinpath(*steps)
    if target.exists():
        raise ValueError(
            f"{archive} has several members named {'/'.join(steps)}: unpack it, and keep one."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


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
