"""Leak keys of the structures and frames that the models are trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from gnnpre import CrystalGraphs, Crystals, FrameLabels
from gnnpre.graphs import as_crystals
from gnnpre.model_selection._leaks._key_audit import make_leak_keys
from gnnpre.pretrained import LeakKeys

from .recipes import Recipe
from .structures import LABELS

__all__ = ["keys_of"]

KEYS_FOLDER = "keys"
# The model that holds the keys of the structures; the others were trained on, or start from, them.
FIRST = "gnnpre-1"


def keys_of(recipe: Recipe, graphs: CrystalGraphs, labels: FrameLabels, folder: Path) -> LeakKeys:
    """Return the keys; those of structures are stored once, with the first model."""
    if recipe.data == "frames":
        return replace(_keys_of_data(recipe.data, graphs, labels, folder), also=FIRST)
    keys = _keys_of_data(recipe.data, graphs, labels, folder)
    if recipe.name == FIRST:
        return keys
    return replace(_take(keys, np.arange(0)), also=FIRST)


def _keys_of_data(data: str, graphs: CrystalGraphs, labels: FrameLabels, folder: Path) -> LeakKeys:
    path = folder / KEYS_FOLDER / f"{data}.safetensors"
    if not path.exists():
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
    frame = np.repeat(np.arange(n), labels.n_atoms)
    no_forces = np.isin(np.arange(n), frame[np.isnan(labels.forces).any(axis=1)])
    present = {
        "energy": np.isfinite(labels.energy),
        "forces": ~no_forces,
        "stress": np.isfinite(labels.stress).all(axis=(1, 2)),
    }
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
