"""Writing a model file with its card and leak keys."""

import json
import zipfile
from pathlib import Path
from typing import Any

from gnnpre._atomic import replace_file
from gnnpre._storage import reading

from ._leak_keys import LeakKeys
from ._members import CARD, KEYS

__all__ = ["write_release"]


def write_release(path: str | Path, card: dict[str, Any], keys: LeakKeys | None = None) -> None:
    """Add a model card, and leak keys, to the file of a fitted model.

    Parameters
    ----------
    path : str or Path
        File that ``save`` wrote; it is replaced as a whole.
    card : dict
        Metadata of the card, JSON-serializable; see :class:`ModelCard`.
    keys : LeakKeys, optional
        Keys of the training structures.

    Raises
    ------
    ValueError
        If there is no model file of one piece at ``path``.

    See Also
    --------
    describe_pretrained : Reads the card.
    read_leak_keys : Reads the keys.

    Examples
    --------
    >>> import pathlib, shutil, tempfile
    >>> from gnnpre import describe_pretrained
    >>> from gnnpre.pretrained import resolve_model, write_release
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mine.gnnpre"
    >>> _ = shutil.copy(resolve_model("gnnpre-1-small"), path)
    >>> card = {**describe_pretrained(path).metadata, "name": "mine"}
    >>> write_release(path, card)
    >>> describe_pretrained(path)
    ModelCard('mine')
    """
    path = Path(path)
    members = {CARD: json.dumps(card, indent=1, ensure_ascii=False).encode()}
    if keys is not None:
        members[KEYS] = keys.to_bytes()
    remedy = "Save the model to a file with a suffix first."
    with reading(path, remedy), zipfile.ZipFile(path) as archive:
        stored = {
            info.filename: archive.read(info)
            for info in archive.infolist()
            if info.filename not in (CARD, KEYS)
        }
    with replace_file(path) as new, zipfile.ZipFile(new, "w") as archive:
        for name, content in {**stored, **members}.items():
            # A fixed time, so that equal models are equal files; weights are never compressed.
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
