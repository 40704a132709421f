"""MatBench's files, downloaded once and verified."""

import os
from pathlib import Path

from gnnpre._home import cache_folder
from gnnpre._validation import check_path

from . import _matbench_files as files
from ._parameters import check_name

__all__ = ["matbench_file"]


def matbench_file(name: str, data_home: str | os.PathLike[str] | None = None) -> Path:
    """Return the file of a table of structures, downloaded unless the folder has it.

    Parameters
    ----------
    name : str
        Name of the table, such as ``"jdft2d"`` or ``"matbench_jdft2d"``.
    data_home : str or path-like, optional
        Folder of the files; that of gnnpre in the user's cache by default.

    Returns
    -------
    Path
        The file, whose checksum is the published one.

    Raises
    ------
    ValueError
        If the name is unknown, names a table of compositions, or the file that arrived is not
        the one that MatBench publishes (it is then removed).
    OSError
        If the download fails.
    """
    full_name = _check_name(name)
    folder = cache_folder()
    if data_home is not None:
        folder = check_path("data_home", data_home).expanduser()
    return _download(full_name, folder)


def _check_name(name: str) -> str:
    if not check_name("name", name):
        raise ValueError(f"name is {name!r}; expected the name of a table, such as 'jdft2d'.")
    full_name = name if name.startswith("matbench_") else f"matbench_{name}"
    if full_name in files.COMPOSITION_FILES:
        raise ValueError(
            f"{full_name} lists compositions, not structures: there is nothing to make graphs of."
        )
    if full_name not in files.STRUCTURE_FILES:
        names = ", ".join(key.removeprefix("matbench_") for key in files.STRUCTURE_FILES)
        raise ValueError(f"There is no MatBench table {name!r}; known are {names}.")
    return full_name


def _download(name: str, folder: Path) -> Path:
    """Return the path of the verified file, downloaded unless the cache has it."""
    import pooch

    file_name = f"{name}.json.gz"
    url, target = files.BASE_URL + file_name, folder / file_name
    known_hash = f"sha256:{files.STRUCTURE_FILES[name]}"
    try:
        return Path(pooch.retrieve(url, known_hash=known_hash, fname=file_name, path=folder))
    except OSError as error:
        raise OSError(
            f"{url} could not be fetched ({error}). Check the connection, or download it elsewhere "
            f"and put it at {target}."
        ) from error
    except ValueError as error:
        target.unlink(missing_ok=True)  # the file in the cache was another one, too
        raise ValueError(
            f"{url} returned a file whose SHA-256 is not the one that MatBench publishes: the "
            "download was damaged or the file replaced. Nothing was stored; try again."
        ) from error
