"""Names of the models in the package, and their files."""

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from gnnpre._atomic import finish_folder_swap
from gnnpre._validation import check_path

__all__ = [
    "CHECKSUMS",
    "FOLDER",
    "FORCE_FIELD",
    "SUFFIX",
    "is_shipped",
    "list_pretrained",
    "resolve_model",
    "shipped_checksum",
]

FOLDER = Path(__file__).parent / "models"
#: File with the SHA-256 digest of each model in the folder.
CHECKSUMS = "checksums.json"
#: The force field, whose embeddings ``kernel_features=("force_field",)`` are.
FORCE_FIELD = "gnnpre-1-forces"
SUFFIX = ".gnnpre"


def list_pretrained() -> list[str]:
    """Return the names of the pre-trained models that the package contains.

    Returns
    -------
    list of str
        Names that ``PropertyRegressor(pretrained=...)``, ``Pretrainer.load`` and
        :func:`describe_pretrained` take.

    See Also
    --------
    describe_pretrained : Data, objective, errors and limits of a model.

    Examples
    --------
    >>> from gnnpre import list_pretrained
    >>> "gnnpre-1" in list_pretrained()
    True
    """
    return sorted(_checksums())


def is_shipped(model: Any) -> bool:
    """Return whether a value is the name of a model in the package.

    Parameters
    ----------
    model : object
        Anything.

    Returns
    -------
    bool
        True for the names of :func:`list_pretrained` alone.

    Examples
    --------
    >>> from gnnpre.pretrained import is_shipped
    >>> is_shipped("gnnpre-1"), is_shipped("models/mine.gnnpre")
    (True, False)
    """
    return isinstance(model, str) and model in _checksums()


def shipped_checksum(name: str) -> str:
    """Return the SHA-256 digest of the file of a model in the package.

    Parameters
    ----------
    name : str
        A name of :func:`list_pretrained`.

    Returns
    -------
    str
        The digest, in hexadecimal digits.

    Examples
    --------
    >>> from gnnpre.pretrained import shipped_checksum
    >>> len(shipped_checksum("gnnpre-1"))
    64
    """
    return _checksums()[name]


def resolve_model(model: str | Path, argument: str = "model") -> Path:
    """Return the file of a model: one of the package by its name, or the path that was passed.

    A name of the package comes first: a file of the same name is ``"./gnnpre-1"`` or a ``Path``.

    Parameters
    ----------
    model : str or Path
        Name, or path of a file or folder.
    argument : str
        Name of the caller's argument, for errors.

    Returns
    -------
    Path
        The file or folder, which exists.

    Raises
    ------
    FileNotFoundError
        If it is neither; the message lists the names.
    ValueError
        If the file of a model in the package is not the one that was released, or the path is a
        device or a pipe.

    Examples
    --------
    >>> from gnnpre.pretrained import resolve_model
    >>> resolve_model("gnnpre-1").name
    'gnnpre-1.gnnpre'
    """
    check_path(argument, model)
    if isinstance(model, str) and model in _checksums():
        return _shipped_file(model)
    path = Path(model)
    finish_folder_swap(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no model {str(model)!r}: it is neither a file or folder (looked for in "
            f"{str(Path.cwd())!r}) nor one of the models in this package: "
            f"{', '.join(list_pretrained())}. Check the name, or pass a path such as "
            f"{os.path.join('models', 'mine' + SUFFIX)!r}."
        )
    if not (path.is_file() or path.is_dir()):
        # A device has no end, and reading from it would take all memory.
        raise ValueError(
            f"{str(model)!r} is a device or a pipe; expected a file or folder that an estimator's "
            "save wrote."
        )
    return path


@lru_cache
def _checksums() -> dict[str, str]:
    """Return the digests of the models' files by name."""
    digests: dict[str, str] = json.loads((FOLDER / CHECKSUMS).read_text(encoding="utf-8"))
    return digests


def _shipped_file(name: str) -> Path:
    path = FOLDER / f"{name}{SUFFIX}"
    remedy = "Install gnnpre again (pip install --force-reinstall --no-deps gnnpre)."
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The file of the pre-trained model {name!r} is missing from this installation: "
            f"{str(path)!r}. {remedy}"
        ) from error
    if hashlib.sha256(content).hexdigest() != _checksums()[name]:
        raise ValueError(
            f"{str(path)!r} is not the pre-trained model {name!r} that was released (checksum): "
            f"it is damaged, or another file under its name. {remedy}"
        )
    return path
