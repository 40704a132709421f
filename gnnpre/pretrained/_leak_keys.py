"""Keys of the structures that a model has been trained on: who is in there, and with which labels.

The structures themselves would take fifty times the space. Keys tell whether a crystal is one of
them, by its id, by its composition, and by a fingerprint of its structure that allows for the small
differences between two relaxations.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._storage import reading

from ._catalogue import resolve_model
from ._members import KEYS, REMEDY, read_member

__all__ = ["LeakKeys", "read_leak_keys", "text_digests"]

FORMAT = 1
NO_ID = 0
# Type and number of axes of each array.
ARRAYS = {
    "compositions": (np.uint64, 1),
    "ids": (np.uint64, 1),
    "periodic": (np.uint8, 1),
    "fingerprints": (np.int8, 2),
    "masks": (np.uint16, 1),
}


def _text(value: Any) -> str:
    """Return a value as text; a whole number is the same as an int and as a float."""
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value)


def text_digests(texts: Iterable[Any]) -> np.ndarray:
    """Return a 64-bit digest of each text, 0 for None.

    Parameters
    ----------
    texts : iterable of str or None
        Formulas or ids; anything else counts by its text.

    Returns
    -------
    ndarray of uint64
        The digests.

    Examples
    --------
    >>> from gnnpre.pretrained._leak_keys import text_digests
    >>> text_digests(["NaCl", None]).tolist()
    [15153447345995555290, 0]
    """
    return np.array([NO_ID if text is None else _digest(_text(text)) for text in texts], np.uint64)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, eq=False, repr=False)
class LeakKeys:
    """Keys of n structures, sorted by composition.

    Parameters
    ----------
    compositions : ndarray of uint64 of shape (n,)
        Digests of the reduced formulas, ascending.
    ids : ndarray of uint64 of shape (n,)
        Digests of the ids, 0 where there is none.
    periodic : ndarray of uint8 of shape (n,)
        Number of periodic directions without a vacuum.
    fingerprints : ndarray of int8 of shape (n, d)
        Fingerprints of the structures, as :func:`gnnpre.model_selection.leak_audit` compares them.
    masks : ndarray of uint16 of shape (n,)
        Bit j is set where the structure was trained on with label j.
    labels : sequence of str
        Names of the labels.
    also : str
        Name of a model of the package whose keys count as well, because this one was trained on
        the same structures or started from its weights; empty for none.

    See Also
    --------
    gnnpre.model_selection.leak_audit : Compares crystals with the keys of a model.

    Examples
    --------
    >>> from gnnpre.pretrained import read_leak_keys
    >>> keys = read_leak_keys("gnnpre-1-forces")
    >>> keys.labels[:2]
    ['energy', 'forces']
    """

    compositions: np.ndarray
    ids: np.ndarray
    periodic: np.ndarray
    fingerprints: np.ndarray
    masks: np.ndarray
    labels: Sequence[str]
    also: str = ""

    def __len__(self) -> int:
        return len(self.compositions)

    def __repr__(self) -> str:
        return f"LeakKeys(n={len(self)}, labels={list(self.labels)})"

    @classmethod
    def from_bytes(cls, content: bytes) -> "LeakKeys":
        """Read the keys that :meth:`to_bytes` wrote.

        Parameters
        ----------
        content : bytes
            A safetensors file.

        Returns
        -------
        LeakKeys
            The keys.

        Raises
        ------
        ValueError
            If the content is damaged, or of a later format.
        """
        from safetensors.numpy import load

        arrays = load(content)
        # The header of a safetensors file: its length in 8 bytes, then JSON.
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])["__metadata__"]
        if int(header["format"]) > FORMAT:
            raise ValueError(
                f"its leak keys are of format {header['format']}; this version reads {FORMAT}: "
                "upgrade gnnpre"
            )
        columns = {name: arrays[name] for name in ARRAYS}
        keys = cls(**columns, labels=json.loads(header["labels"]), also=header["also"])
        keys._check()
        return keys

    def _check(self) -> None:
        for name, (dtype, n_axes) in ARRAYS.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != n_axes or len(array) != len(self):
                raise ValueError(f"its leak keys have {name} of another type or length")
        if len(self.labels) > 16 or not all(isinstance(label, str) for label in self.labels):
            raise ValueError("its leak keys have more than 16 labels, or labels that are not names")
        if (self.compositions[1:] < self.compositions[:-1]).any():
            raise ValueError("its leak keys are not sorted")

    def to_bytes(self) -> bytes:
        """Return the keys as a safetensors file.

        Returns
        -------
        bytes
            Its content.
        """
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}
        labels = json.dumps(list(self.labels))
        metadata = {"format": str(FORMAT), "labels": labels, "also": self.also}
        content: bytes = save(arrays, metadata=metadata)
        return content

    def join(self, second: "LeakKeys") -> "LeakKeys":
        """Return the keys of two trainings in one.

        Parameters
        ----------
        second : LeakKeys
            Keys of the other training.

        Returns
        -------
        LeakKeys
            All keys, with the labels of both.
        """
        labels = list(dict.fromkeys([*self.labels, *second.labels]))
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(second, name)])
            for name in ARRAYS
            if name != "masks"
        }
        masks = np.concatenate([_renumbered(keys, labels) for keys in (self, second)])
        order = np.argsort(columns["compositions"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        return LeakKeys(**columns, masks=masks[order], labels=labels)


def _renumbered(keys: LeakKeys, labels: list[str]) -> np.ndarray:
    """Return the masks of keys with the bits that other ``labels`` have, ``(n,)``."""
    masks = np.zeros(len(keys), dtype=np.uint16)
    for bit, label in enumerate(keys.labels):
        present = (keys.masks >> bit) & 1
        masks |= (present << labels.index(label)).astype(np.uint16)
    return masks


def read_leak_keys(model: str | Path) -> LeakKeys:
    """Read the keys of the structures that a model has been trained on.

    Parameters
    ----------
    model : str or Path
        Name of a model in the package, or a file.

    Returns
    -------
    LeakKeys
        The keys.

    Raises
    ------
    ValueError
        If the file has none, or is damaged.
    FileNotFoundError
        If there is no such model.

    See Also
    --------
    gnnpre.model_selection.leak_audit : Compares crystals with them.

    Examples
    --------
    >>> from gnnpre.pretrained import read_leak_keys
    >>> len(read_leak_keys("gnnpre-1")) > 90_000
    True
    """
    path = resolve_model(model)
    content = read_member(path, KEYS, "leak keys")
    with reading(path, REMEDY):
        keys = LeakKeys.from_bytes(content)
    return keys.join(read_leak_keys(keys.also)) if keys.also else keys
