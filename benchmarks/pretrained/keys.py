"""Leak keys of a model: its own training structures, and those of the model that it starts from."""

from pathlib import Path

import numpy as np

from gnnpre import CrystalGraphs, Crystals, FrameLabels
from gnnpre.graphs import as_crystals
from gnnpre.model_selection._leaks._key_audit import make_leak_keys
from gnnpre.pretrained import LeakKeys

from .recipes import RECIPES, Recipe
from .structures import LABELS

__all__ = ["keys_of"]

KEYS_FOLDER = "keys"


def keys_of(recipe: Recipe, graphs: CrystalGraphs, labels: FrameLabels, folder: Path) -> LeakKeys:
    """Return the keys, which are computed once for each set of structures."""
    keys = _keys_of_data(recipe.data, graphs, labels, folder)
    if recipe.start is None:
        return keys
    before = RECIPES[recipe.start]
    return join_keys(keys, _keys_of_data(before.data, None, None, folder))


def _keys_of_data(
    data: str, graphs: CrystalGraphs | None, labels: FrameLabels | None, folder: Path
) -> LeakKeys:
    path = folder / KEYS_FOLDER / f"{data}.safetensors"
    if not path.exists():
        if graphs is None or labels is None:
            graphs = CrystalGraphs.load(folder / f"{data}.graphs")
            labels = FrameLabels.load(folder / f"{data}.labels")
        path.parent.mkdir(exist_ok=True)
        print(f"computing keys of {len(graphs)} {data}", flush=True)
        path.write_bytes(_make_keys(data, as_crystals(graphs), labels).to_bytes())
    return LeakKeys.from_bytes(path.read_bytes())


def _make_keys(data: str, crystals: Crystals, labels: FrameLabels) -> LeakKeys:
    if data == "structures":
        present = {name: np.isfinite(labels.info[name]) for name in LABELS}
        # All were learnt without labels, too: their fingerprints.
        everything = {"structure": np.ones(len(labels), dtype=bool), **present}
        return make_leak_keys(crystals, everything, labels.info["id"].tolist())
    n = len(labels)
    stress = np.isfinite(labels.stress.reshape(n, -1)).all(axis=1)
    present = {"energy": np.isfinite(labels.energy), "forces": np.ones(n, bool), "stress": stress}
    keys = make_leak_keys(crystals, present)
    return _unique(keys)


def _unique(keys: LeakKeys) -> LeakKeys:
    """Return keys without repetitions: most frames of one material have one fingerprint."""
    columns = np.column_stack(
        [
            keys.compositions.view(np.int64),
            keys.masks,
            keys.periodic,
            keys.fingerprints.astype(np.int64),
        ]
    )
    _, rows = np.unique(columns, axis=0, return_index=True)
    return _take(keys, np.sort(rows))


def _take(keys: LeakKeys, rows: np.ndarray) -> LeakKeys:
    return LeakKeys(
        keys.compositions[rows],
        keys.ids[rows],
        keys.periodic[rows],
        keys.fingerprints[rows],
        keys.masks[rows],
        keys.labels,
    )


def join_keys(first: LeakKeys, second: LeakKeys) -> LeakKeys:
    """Return the keys of two trainings in one, with the labels of both."""
    shift = len(first.labels)
    joined = LeakKeys(
        np.concatenate([first.compositions, second.compositions]),
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.periodic, second.periodic]),
        np.concatenate([first.fingerprints, second.fingerprints]),
        np.concatenate([first.masks, (second.masks.astype(np.uint32) << shift).astype(np.uint16)]),
        [*first.labels, *second.labels],
    )
    return _take(joined, np.argsort(joined.compositions, kind="stable"))
