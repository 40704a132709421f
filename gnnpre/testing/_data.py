"""The crystals and labels that checks use, and the forms in which they hand them over."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import get_tags

from gnnpre.datasets import make_emt_frames
from gnnpre.graphs import FrameLabels, StructureToGraph

__all__ = ["CONTAINERS", "CheckData", "as_object_array", "make_data", "other_labels", "take"]

# Crystals: enough for two folds with a validation part each, few enough for a second of fits.
N_STRUCTURES = 12
N_CLASSES = 3


@dataclass(frozen=True)
class CheckData:
    """Structures, and the labels that the estimator takes (None where it takes none)."""

    structures: list[Any]
    y: Any

    def with_y(self, y: Any) -> "CheckData":
        """Return the structures with new labels."""
        return CheckData(self.structures, y)

    def take(self, indices: Any) -> "CheckData":
        """Return some of the structures with their labels."""
        return CheckData(take(self.structures, indices), take(self.y, indices))

    def __len__(self) -> int:
        return len(self.structures)


def make_data(estimator: Any, structures: Sequence[Any] | None, y: Any) -> CheckData:
    """Return copies of the structures, so that no change by a check outlives it."""
    if structures is None and y is not None and not callable(y):
        raise ValueError("y was given without structures: pass both, or a function for y.")
    chosen = _default_frames()[0] if structures is None else list(structures)
    labels = y(estimator) if callable(y) else y
    if labels is None:
        labels = _default_labels(estimator, chosen, structures is None)
    if labels is not None and len(labels) != len(chosen):
        raise ValueError(f"y has {len(labels)} rows; there are {len(chosen)} structures.")
    return CheckData(deepcopy(chosen), deepcopy(labels))


@lru_cache(maxsize=1)
def _default_frames() -> tuple[list[Any], FrameLabels]:
    return make_emt_frames(N_STRUCTURES, max_atoms=4, random_state=0)


def _default_labels(estimator: Any, structures: list[Any], is_default: bool) -> Any:
    """Return labels that fit the tags: classes, a property, energies and forces, or none."""
    if is_classifier(estimator):
        multi_class = get_tags(estimator).classifier_tags.multi_class
        n_classes = N_CLASSES if multi_class else 2
        # Classes by volume, so that there is something to learn, and equally many of each.
        ranks = np.argsort(np.argsort(_volumes(structures)))
        return np.array(["insulator", "metal", "semimetal"])[ranks % n_classes]
    if is_regressor(estimator):
        return _volumes(structures)
    if not get_tags(estimator).target_tags.required:
        return None
    if is_default:
        return _default_frames()[1]
    raise ValueError(
        f"{type(estimator).__name__} requires y and is neither regressor nor classifier: pass y, "
        "or leave structures at None to have energies, forces and stresses of generated crystals."
    )


def _volumes(structures: list[Any]) -> np.ndarray:
    """Volume per atom in Å^3, read without a trace in the structures."""
    graphs = StructureToGraph(cutoff=0.1).transform(structures)
    volume = np.abs(np.linalg.det(graphs.cell.numpy()))
    return np.asarray(volume / graphs.atom_counts)


def take(values: Any, indices: Any) -> Any:
    """Rows of whatever has rows: a list, table, array, graphs, labels, or a dict of them."""
    if values is None:
        return None
    if isinstance(values, dict):
        return {key: take(value, indices) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [values[index] for index in indices]
    return (
        values.iloc[indices]
        if hasattr(values, "iloc")
        else values[np.asarray(indices, dtype=np.intp)]
    )


def other_labels(y: Any, rows: np.ndarray) -> Any:
    """Return ``y`` with different, equally possible labels in some rows."""
    if isinstance(y, FrameLabels):
        return _other_frame_labels(y, rows)
    changed = np.array(y)
    # Classes move by one row; numbers become outliers.
    if changed.dtype.kind in "OUSb":
        changed[rows] = np.roll(changed, 1, axis=0)[rows]
    else:
        changed[rows] = changed[rows] + 10.0 * (1.0 + np.abs(changed).max())
    return changed


def _other_frame_labels(labels: FrameLabels, rows: np.ndarray) -> FrameLabels:
    frames = np.zeros(len(labels), dtype=bool)
    frames[rows] = True
    atoms = np.repeat(frames, labels.n_atoms)
    changed = {
        "energy": (labels.energy, frames, 100.0),
        "forces": (labels.forces, atoms, 10.0),
        "stress": (labels.stress, frames, 1.0),
    }
    shifted: dict[str, Any] = {
        name: value if value is None else _shifted(value, where, by)
        for name, (value, where, by) in changed.items()
    }
    return FrameLabels(labels.n_atoms, **shifted)


def _shifted(values: Any, where: np.ndarray, by: float) -> np.ndarray:
    shifted = np.array(values)
    shifted[where] += by
    return shifted


def as_object_array(structures: Sequence[Any], *, column: bool = False) -> np.ndarray:
    """Return structures as an object array ``(n,)`` or ``(n, 1)``; NumPy would unpack them."""
    array = np.empty(len(structures), dtype=object)
    for index, structure in enumerate(structures):
        array[index] = structure
    return array[:, None] if column else array


def _as_series(values: Sequence[Any]) -> Any:
    import pandas as pd

    # An index that is not 0, 1, ...: rows are rows, whatever they are called.
    return pd.Series(list(values), index=[f"row {i}" for i in range(len(values))], dtype=object)


#: Every container that structures may come in.
CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "Series": _as_series,
    "object array (n,)": as_object_array,
    "object array (n, 1)": lambda structures: as_object_array(structures, column=True),
}
