"""Exact resume: the state of a training, written to a file after each epoch.

The file is replaced as a whole, so that a kill at any moment leaves the last complete epoch.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from skorch.callbacks import Callback

from gnnpre._atomic import remove_stale
from gnnpre._storage import load_tensors, save_tensors
from gnnpre._warnings import StorageWarning, warn_user
from gnnpre.graphs import is_on_disk

from ._callbacks import callback_states, load_callback_states
from ._loader import CrystalDataset, TrainingData
from ._state import TrainingState

__all__ = ["StateFile", "run_key"]

KIND = "training state"


def run_key(description: dict[str, Any], data: TrainingData) -> str:
    """Return a digest of all that decides how a run goes: models, settings, seed and data."""
    text = json.dumps(description, sort_keys=True, default=_as_json)
    valid = "" if data.valid is None else _data_digest(data.valid)
    return hashlib.sha256((text + _data_digest(data.train) + valid).encode()).hexdigest()[:16]


def _as_json(value: Any) -> Any:
    """Return what JSON has for a value: the same for NumPy's numbers as for Python's."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _data_digest(dataset: CrystalDataset) -> str:
    graphs, targets = dataset.graphs, dataset.targets
    if is_on_disk(graphs):
        in_memory = [
            tensor.cpu().numpy() for tensor in (*targets.crystal.values(), *targets.atom.values())
        ]
        # Labels of a store, which may be another one than that of the crystals.
        stored = [
            source.labels.digest
            for source in getattr(targets, "sources", {}).values()
            if hasattr(source, "labels")
        ]
        return str(joblib.hash([graphs.digest, stored, *in_memory, dataset.indices]))
    tensors = [graphs.atomic_numbers, graphs.positions, graphs.cell, graphs.pbc, graphs.n_atoms]
    tensors += [*targets.crystal.values(), *targets.atom.values()]
    arrays = [tensor.cpu().numpy() for tensor in tensors]
    return str(joblib.hash([*arrays, dataset.indices, graphs.settings.to_dict()]))


class StateFile:
    """The file that a training resumes from."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder)

    def load(
        self, state: TrainingState, callbacks: list[tuple[str, Callback]], max_epochs: int
    ) -> bool:
        """Restore the state that the file holds; return whether there was one to go on from."""
        if not self.path.exists():
            return False
        advice = f"Delete {str(self.path)!r}, or set resume=False, to start the training anew."
        try:
            tensors, values = load_tensors(self.path, kind=KIND)
            values = _from_json(values)
            if not isinstance(values["callbacks"], dict):
                raise TypeError("states of callbacks are not named")
            # Without a cosine a longer training has the same name; its weights are not these.
            if len(values["history"]) - values["n_earlier"] > max_epochs:
                return False
            state.restore(tensors, values)
        except (ValueError, KeyError, IndexError, RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(
                f"The state to resume from cannot be used ({type(error).__name__}: {error}). "
                f"{advice}"
            ) from error
        # Outside of the block above: their errors name callbacks, not the file.
        load_callback_states(callbacks, values["callbacks"])
        return True

    def save(self, state: TrainingState, callbacks: list[tuple[str, Callback]]) -> None:
        """Write the state; a training that cannot be resumed is better than none."""
        values = {**state.to_values(), "callbacks": callback_states(callbacks)}
        try:
            save_tensors(self.path, state.to_tensors(), kind=KIND, metadata=_to_json(values))
        except OSError as error:
            warn_user(
                f"The state of epoch {state.epoch} could not be written to {str(self.path)!r} "
                f"({error}). The training goes on; if it is interrupted, it resumes from an "
                "earlier epoch.",
                StorageWarning,
            )


def _to_json(value: Any) -> Any:
    """Replace infinities and NaN, which JSON cannot express."""
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"float"}:
            return float(value["float"])
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value
