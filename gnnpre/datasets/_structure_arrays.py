"""Structures as arrays, packed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..graphs import Crystals, StructureArrays

__all__ = ["pack_arrays"]


def pack_arrays(
    structures: Sequence[StructureArrays],
    *,
    ids: Any = None,
    info: Mapping[str, Any] | None = None,
    index: Any = None,
) -> Crystals:
    """Return structures as one `Crystals`.

    Parameters
    ----------
    structures : sequence of StructureArrays
        At least one.
    ids, info, index : optional
        As for `Crystals`.

    Returns
    -------
    Crystals
        The structures, in order.
    """
    return Crystals(
        atomic_numbers=np.concatenate([item.atomic_numbers for item in structures]),
        positions=np.concatenate([item.positions for item in structures]),
        cell=np.array([item.cell for item in structures]),
        n_atoms=np.array([len(item.atomic_numbers) for item in structures]),
        pbc=np.array([item.pbc for item in structures]),
        ids=ids,
        info=info,
        index=index,
    )
