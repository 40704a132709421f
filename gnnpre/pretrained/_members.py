"""Card and leak keys beside the weights of a model, in one zip file."""

import zipfile
from pathlib import Path

from gnnpre._storage import UnsuitableFileError, reading

__all__ = ["CARD", "KEYS", "REMEDY", "read_member"]

CARD = "card.json"
KEYS = "leak_keys.safetensors"
# Bytes; keys of a million structures have 40 MB.
LARGEST_MEMBER = 2**28
REMEDY = "It is truncated or of another format, or was changed: get the file again."


def read_member(path: Path, name: str, label: str) -> bytes:
    """Read a member of a model file, or raise ValueError that says that it has no such ``label``.

    Parameters
    ----------
    path : Path
        The model file.
    name : str
        Name of the member.
    label : str
        Its name in the error.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    ValueError
        If the file has no such member, or is damaged.
    """
    with reading(path, REMEDY):
        if path.is_dir():
            member = path / name
            if not member.is_file():
                raise _missing(label)
            return member.read_bytes()
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                raise _missing(label)
            # An archive may claim to unpack to any size.
            if archive.getinfo(name).file_size > LARGEST_MEMBER:
                raise ValueError(f"its {name} is too large")
            return archive.read(name)


def _missing(label: str) -> UnsuitableFileError:
    return UnsuitableFileError(
        f"has no {label}: only models that were released with one have it, such as those of "
        "gnnpre.list_pretrained(). `gnnpre info` describes any other model file."
    )
