"""Which crystals of a data set a pre-training has seen, and with which labels."""

from typing import Any

import numpy as np

from gnnpre._atomic import write_file
from gnnpre.graphs import Crystals
from gnnpre.model_selection import Side, audit_by_keys, make_leak_keys
from gnnpre.objectives import Mixture, Objective, PropertyTargets
from gnnpre.pretrained import LeakKeys, read_leak_keys

from ..plan._data import LoadedData
from ..plan._job import Job
from ._folder import StudyFolder, write_json
from ._pools import Pool
from ._workspace import Workspace

__all__ = ["label_masks", "write_audit", "write_keys"]

#: Leak keys have a bit for each label.
MOST_LABELS = 16
FRAME_LABELS = ("energy", "forces", "stress")


def write_audit(pretraining: Job, data: LoadedData, workspace: Workspace) -> None:
    """Write which crystals of a data set a pre-training has seen, unless the file exists.

    Structures are compared by leak keys: at structure level, two-dimensional crystals without
    their vacuum. A model of the package brings its keys; those of a pre-training of the study
    were written by :func:`write_keys`.
    """
    digest = workspace.data[data.name].digest
    path = workspace.folder.audit(data.name, digest, pretraining.key)
    if path.is_file():
        return
    keys = _keys_of(pretraining, workspace)
    evaluation = Side.of(Crystals.from_structures(data.structures), None)
    audit = audit_by_keys(keys, evaluation, match=True)
    seen = audit.matches["structure"] >= 0
    labels = {name: np.flatnonzero(mask) for name, mask in audit.seen_labels.items()}
    content = {
        "data": data.name,
        "digest": digest,
        "key": pretraining.key,
        "pretraining": pretraining.strategy,
        "backbone": pretraining.backbone,
        "n_pretraining": len(keys),
        "seen": np.flatnonzero(seen),
        "labels": labels,
    }
    write_json(path, content)


def _keys_of(pretraining: Job, workspace: Workspace) -> LeakKeys:
    if "model" in pretraining.tools:
        return read_leak_keys(pretraining.tools["model"])
    path = workspace.folder.leak_keys(pretraining.key)
    if not path.is_file():
        # Weights of an older version, which wrote no keys: the same crystals are read again.
        write_keys(pretraining, workspace.folder, workspace.pool(pretraining))
    return LeakKeys.from_bytes(path.read_bytes())


def write_keys(pretraining: Job, folder: StudyFolder, pool: Pool) -> None:
    """Write the leak keys of the crystals of a pre-training."""
    declared = pretraining.tools["declared"]
    labels = label_masks(declared.objective, pool, declared.targets)
    keys = make_leak_keys(pool.crystals, labels)
    write_file(folder.leak_keys(pretraining.key), keys.to_bytes())


def label_masks(objective: Objective, pool: Pool, targets: Any) -> dict[str, np.ndarray]:
    """Return, for each label that an objective learns, which crystals have it, ``(n,)``."""
    masks = _masks(objective, pool, targets)
    if len(masks) > MOST_LABELS:
        raise ValueError(
            f"A pre-training learns {len(masks)} labels, {', '.join(list(masks)[:3])} and so on; "
            f"leak keys tell {MOST_LABELS} apart. Name fewer columns in targets."
        )
    return masks


def _masks(objective: Objective, pool: Pool, targets: Any) -> dict[str, np.ndarray]:
    if not objective.needs_labels:
        return {}
    if isinstance(objective, PropertyTargets):
        return {
            name: _has_property(pool, name)
            for name in (pool.columns if targets is None else targets)
        }
    if isinstance(objective, Mixture):
        masks: dict[str, np.ndarray] = {}
        for name, item, _ in objective.parts:
            # A part that learns a property has the name of its column.
            is_property = isinstance(item, PropertyTargets)
            learnt = (
                {name: _has_property(pool, name)} if is_property else _masks(item, pool, targets)
            )
            masks |= {label: mask | masks.get(label, False) for label, mask in learnt.items()}
        return masks
    masks = {name: _has_label(pool, name) for name in FRAME_LABELS}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _has_property(pool: Pool, name: str) -> np.ndarray:
    if name not in pool.columns:
        raise ValueError(
            f"A pre-training learns the property {name!r}; the sources have the columns "
            f"{list(pool.columns)}. Name one of them, or add a source that has it."
        )
    return np.isfinite(np.asarray(pool.labels.info[name], dtype=np.float64))


def _has_label(pool: Pool, name: str) -> np.ndarray:
    """Return which crystals have an energy, forces or a stress; no column of that name counts."""
    labels = pool.labels
    if name == "forces":
        finite = np.isfinite(labels.forces).all(axis=1)  # (N,)
        return np.logical_and.reduceat(finite, labels.offsets[:-1])
    values = np.asarray(getattr(labels, name), dtype=np.float64)
    return np.asarray(np.isfinite(values.reshape(len(pool), -1)).all(axis=1))
